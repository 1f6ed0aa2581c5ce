// How the review looks: the picture, what is known of it, and the decisions. It shows the queue's state.

import { whenPainted } from "./pictures.js";
import { queue } from "./queue.js";
import { pictureOf } from "./server.js";
import { Explanation } from "./explanation.js";
import { LabelChoice } from "./label_choice.js";

const { createElement: h, Fragment, useEffect, useLayoutEffect, useRef, useState, useSyncExternalStore } = window.React;
const { useRecoilValueLoadable } = window.recoil;
const { Alert, Box, Button, Typography } = window.__mui__;
const fos = window.__fos__; // @fiftyone/state
const PLUGIN = "@influence-audit/influence-audit";
const KEYS = "Keys: Shift + A accept, C confirm, D dismiss, U undo, N next, 1 to 3 the likeliest classes, L another label";
const VERBS = { accept: "accepted the suggestion", confirm: "confirmed the mistake", dismiss: "dismissed it", relabel: "relabelled it", unsure: "could not say" };

const counted = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
const percent = (share) => `${Math.round(100 * share)}%`;

// A value of the App's state; nothing while it is being computed.
function useValue(state, otherwise) {
  const loadable = useRecoilValueLoadable(state);
  return loadable.state === "hasValue" ? loadable.contents : otherwise;
}

export function ReviewPanel({ schema }) {
  const { audit_key, threshold, class_label, version, ...texts } = schema.view;
  const state = useSyncExternalStore(queue.subscribe, queue.snapshot);
  const dataset_name = useValue(fos.datasetName, null);
  const view = useValue(fos.view, []);
  const filters = useValue(fos.filters, null);
  const extended = useValue(fos.extendedStages, null);
  const selected = [...useValue(fos.selectedSamples, [])].map((one) => (Array.isArray(one) ? one[0] : one));
  const opened = useValue(fos.nullableModalSampleId, null);
  const updateGrid = fos.useUpdateSamples();

  useEffect(() => {
    if (!dataset_name || !audit_key) return;
    queue.follow({ dataset_name, view, filters, extended }, { audit_key, threshold, class_label, version });
  });
  useEffect(() => {
    if (opened) queue.open(opened);
  }, [opened, state.loading && !state.current]);
  const last = selected.at(-1);
  useEffect(() => {
    if (last && !opened) queue.open(last);
  }, [last]);
  useEffect(() => {
    queue.isSampleOpen = () => Boolean(opened);
    queue.selected = selected;
    queue.confused = texts.confused;
    queue.onChanged = (documents) => updateGrid(documents.map((document) => [document._id, document]));
    queue.onQuiet = () => window.__foo__.executeOperator("reload_samples");
  });

  return h(
    Box,
    { "data-cy": "review", sx: { display: "flex", flexDirection: "column", gap: 1.5 } },
    h(Progress, { progress: state.progress, texts }),
    state.problem && h(Alert, { severity: "error", onClose: () => queue.set({ problem: null }) }, state.problem),
    state.conflict && h(Conflict, { conflict: state.conflict }),
    h(
      Box,
      { sx: { border: 1, borderColor: "divider", borderRadius: 1, p: 2, display: "flex", flexDirection: "column", gap: 1.5 } },
      h(Sample, { state, opened, texts }),
      h(Decisions, { state, selected, opened, texts }),
      h(Said, { state }),
      h(Typography, { variant: "body2", color: "text.secondary", sx: { fontStyle: "italic" } }, KEYS),
      state.current && state.current.suspicion !== null && h(Explanation, { queue })
    )
  );
}

function Progress({ progress, texts }) {
  if (!progress) return null;
  const { flagged, reviewed, checked, found_wrong, expected_wrong, unexpected, to_apply } = progress;
  const share = flagged ? reviewed / flagged : 1;
  return h(
    Fragment,
    null,
    h(Typography, { variant: "subtitle1" }, `${reviewed.toLocaleString("en")} / ${flagged.toLocaleString("en")} reviewed (${percent(share)})`),
    texts.least_checked !== null && checked >= texts.least_checked &&
      h(
        Typography,
        { variant: "body2" },
        `Of ${counted(checked, "flag")} decided on since the audit, `,
        h("b", null, `${found_wrong.toLocaleString("en")} (${percent(found_wrong / checked)})`),
        ` had a wrong label; the audit expected ${percent(expected_wrong / checked)}.`,
        unexpected &&
          ` Chance alone rarely does that: the other flags may hold ${found_wrong > expected_wrong ? "more" : "fewer"} wrong labels than expected, too.`
      ),
    to_apply > 0 && h(Alert, { severity: "info" }, `${counted(to_apply, "corrected label")} not in '${texts.label_field}' yet: choose 'Apply'.`)
  );
}

function Conflict({ conflict }) {
  const { decision } = conflict.card;
  const seconds = Math.round(decision?.seconds ?? 0);
  const ago = seconds < 60 ? `${seconds} s` : seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
  const text = decision ? `${decision.by} ${VERBS[decision.action] ?? "decided"} ${ago} ago. Replace that decision?` : "The decision that you saw was undone meanwhile. Decide?";
  return h(
    Alert,
    { severity: "warning" },
    h(Box, null, text),
    h(Button, { onClick: () => queue.replace(conflict), size: "small" }, "Replace it"),
    h(Button, { onClick: () => queue.next(), size: "small" }, "Keep it")
  );
}

function Sample({ state, opened, texts }) {
  const { current, loading, progress } = state;
  if (!current) {
    if (loading) return h(Typography, { variant: "body2" }, "Loading …");
    const left = progress ? progress.flagged - progress.reviewed : 0;
    return h(
      Box,
      null,
      h(Typography, { variant: "subtitle2" }, "Review"),
      h(Typography, { variant: "body2" }, "Every flagged sample that filters and view leave is reviewed."),
      left > 0 && h(Typography, { variant: "body2" }, `${counted(left, "flagged sample")} outside of them ${left === 1 ? "is" : "are"} not: choose 'Show all samples', or move the slider.`)
    );
  }
  const { given, injected, label, suggested, probability, suspicion, influence, status, corrected } = current;
  const row = (name, value, more = "") => h(Box, null, `${name}: `, h("b", null, value), more);
  return h(
    Box,
    { sx: { display: "flex", flexWrap: "wrap", gap: 2, alignItems: "center" } },
    h(Picture, { key: current.sample, card: current, opened }),
    suspicion === null
      ? h(Typography, { variant: "body2" }, "This sample is not part of the audit.")
      : h(
          Box,
          { sx: { fontSize: 15, lineHeight: 1.7, overflowWrap: "anywhere", minWidth: 0 } },
          row("given", given ?? "–", injected ? ` (changed on purpose; your label is ${label ?? "–"})` : ""),
          row("suggested", suggested ?? "–", probability === null ? "" : ` (score ${probability.toFixed(2)})`),
          row("suspicion", suspicion > 0.995 && suspicion < 1 ? "above 0.995" : suspicion.toFixed(3)),
          influence !== null && row("influence", `${influence < 0 ? "" : "+"}${influence.toPrecision(3)}`, influence < 0 ? " (harms)" : " (helps)"),
          h(Box, null, "status: ", h("b", null, status ?? "unreviewed"), corrected && [" to ", h("b", { key: "to" }, corrected)])
        )
  );
}

function Picture({ card, opened }) {
  const image = useRef(null);
  const paint = () => whenPainted(() => image.current && queue.painted(card.sample));
  useLayoutEffect(() => {
    if (image.current?.complete && image.current.naturalWidth) paint();
  }, []);
  useLayoutEffect(() => {
    queue.picture = () => image.current;
  });
  return h("img", {
    ref: image,
    src: pictureOf(card.filepath),
    alt: card.given ?? "",
    title: "Open the sample",
    onLoad: paint,
    onError: paint, // that it cannot be shown is on screen, too
    onClick: () => !opened && window.__foo__.executeOperator("open_sample", { id: card.sample }),
    style: { height: 200, maxWidth: "100%", minWidth: 80, objectFit: "contain", cursor: "pointer", imageRendering: "auto", background: "#8882" },
  });
}

function Decisions({ state, selected, opened, texts }) {
  const { current, asksLabel } = state;
  const tell = window.__foo__.usePanelEvent();
  const panel = window.__fosp__.usePanelId();
  const many = !opened && selected.length > 1 ? selected.length : 0;
  const cannot = !many && (!current || current.suspicion === null);
  const suffix = many ? ` (${many})` : "";
  const button = (label, onClick, disabled = false, variant = "outlined") =>
    h(Button, { key: label, size: "small", variant, disabled, onClick, sx: { whiteSpace: "nowrap", textTransform: "none" } }, label + suffix.repeat(DECIDE.includes(label)));
  const decide = (action) => () => decideOn(action);
  return h(
    Fragment,
    null,
    !many && current && h(LabelChoice, { queue, card: current, decideOn, confused: texts.confused }),
    h(
      Box,
      { sx: { display: "flex", flexWrap: "wrap", gap: 1 } },
      button("Accept suggestion", decide("accept"), cannot, "contained"),
      button("Confirm mistake", decide("confirm"), cannot),
      button("Dismiss", decide("dismiss"), cannot),
      button("Relabel", () => queue.set({ asksLabel: !asksLabel }), cannot),
      !many && button("Label by hand", () => tell(panel, { operator: `${PLUGIN}/label_audit#label_by_hand`, params: { sample: current.sample } }), cannot),
      button("Undo last", () => queue.undo()),
      button("Next", () => goOn())
    ),
    asksLabel && h(LabelChoice.Other, { queue, decideOn, classes: texts.classes, many }),
    many > 1 && h(Typography, { variant: "body2" }, h("i", null, `Accepting ${many.toLocaleString("en")} suggestions without looking at each?`), ` ${texts.accepting}`)
  );
}
const DECIDE = ["Accept suggestion", "Confirm mistake", "Dismiss", "Relabel"];

// A decision on what is selected, or else on the sample that is on screen.
export function decideOn(action, label = null) {
  const { selected = [], isSampleOpen } = queue;
  if (selected.length > 1 && !isSampleOpen?.()) {
    queue.decideOn(action, label, selected).then(() => window.__foo__.executeOperator("clear_selected_samples"));
    return;
  }
  const before = queue.state.current;
  queue.decide(action, label);
  if (queue.state.current !== before) showCurrent();
  if (selected.length) window.__foo__.executeOperator("clear_selected_samples");
}

export function goOn() {
  Promise.resolve(queue.next()).then(showCurrent);
}

// In the sample view the picture moves, too.
export function showCurrent() {
  const { current } = queue.state;
  if (current && queue.isSampleOpen?.()) window.__foo__.executeOperator("open_sample", { id: current.sample });
}

function Said({ state }) {
  const [flash, setFlash] = useState(false);
  useEffect(() => {
    if (!state.early) return;
    setFlash(true);
    const timer = setTimeout(() => setFlash(false), 1500);
    return () => clearTimeout(timer);
  }, [state.early]);
  const text = flash ? "That key came before the picture: it was ignored." : state.outcome;
  return h(Typography, { variant: "body2", role: "status", sx: { minHeight: "1.5em", color: flash ? "warning.main" : "text.secondary" } }, text ?? "\u00a0");
}
