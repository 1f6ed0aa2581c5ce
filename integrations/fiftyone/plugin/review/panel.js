// How the review looks: how far it is, the sample, and what follows from decisions. It shows the queue's state.

import { Batches, batches, Sheet } from "./batches.js";
import { Decisions, Said } from "./decisions.js";
import { Explanation } from "./explanation.js";
import { ClassMatrix, matrix } from "./matrix.js";
import { outline } from "./outline.js";
import { Plan } from "./plan.js";
import { queue } from "./queue.js";
import { Sample } from "./sample.js";
import { SmallButton } from "./small_button.js";
import { Team, useTeam } from "./team.js";
import { ago, counted, number, percent, VERBS } from "./words.js";

const { createElement: h, Fragment, useEffect, useSyncExternalStore } = window.React;
const { useRecoilValueLoadable } = window.recoil;
const { Alert, Box, Typography } = window.__mui__;
const { executeOperator, usePanelEvent } = window.__foo__; // @fiftyone/operators
const fos = window.__fos__; // @fiftyone/state
const PLUGIN = "@influence-audit/influence-audit";
const ASKED_AGAIN_AFTER = 1500; // milliseconds
const FRAME = {
  ...{ border: 1, borderColor: "divider", borderRadius: 1, p: 2 },
  ...{ display: "flex", flexDirection: "column", gap: 1.5 },
};
const KEYS =
  "Keys: Shift + A accept, C confirm, D dismiss, S unsure, U undo, N next, Z zoom, L another label; " +
  "1 to 3 the likeliest classes";

const START = [
  "Look at the picture: is the given label wrong? Below are the pictures most like it.",
  "Shift + A takes the suggested label, Shift + D keeps the given one, Shift + S leaves it open.",
  "Your labels stay as they are until you press the button 'Apply'. Shift + U takes a decision back.",
];

// Below the buttons, in the place of the keys until the reviewer closes it: picture and buttons stay where they are.
function Start() {
  const close = () => queue.set({ start: false });
  const line = (text, place) => h(Box, { key: place }, `${place + 1}. ${text}`);
  return h(Alert, { "data-cy": "start", severity: "info", icon: false, onClose: close }, START.map(line));
}

// A value of the App's state; nothing while it is being computed.
function useValue(state, otherwise) {
  const loadable = useRecoilValueLoadable(state);
  return loadable.state === "hasValue" ? loadable.contents : otherwise;
}

export function ReviewPanel({ schema }) {
  const { audit_key, threshold, class_label, hide_injected, suggested, version, ...texts } = schema.view;
  const state = useSyncExternalStore(queue.subscribe, queue.snapshot);
  const dataset_name = useValue(fos.datasetName, null);
  const view = useValue(fos.view, []);
  const filters = useValue(fos.filters, null);
  const extended = useValue(fos.extendedStages, null);
  const selected = [...useValue(fos.selectedSamples, [])].map((one) => (Array.isArray(one) ? one[0] : one));
  const opened = useValue(fos.nullableModalSampleId, null);
  const updateGrid = fos.useUpdateSamples();
  const [team, setTeam] = useTeam(dataset_name);
  const tell = usePanelEvent();
  const panel = window.__fosp__.usePanelId();

  useEffect(() => {
    if (!dataset_name || !audit_key) return;
    const wanted = { audit_key, threshold, class_label, hide_injected, suggested, version, team };
    queue.follow({ dataset_name, view, filters, extended }, wanted);
  });
  useEffect(() => {
    if (opened) queue.open(opened);
  }, [opened, state.loading && !state.current]);
  useEffect(() => outline(state.current?.sample ?? null));
  useEffect(() => () => outline(null), []);
  // The App may lose the answer that took the panel's filters off: it is asked again while the grid shows all samples.
  const isBehind = !view.length && Boolean(class_label || suggested || hide_injected);
  useEffect(() => {
    if (!isBehind) return;
    const event = { operator: `${PLUGIN}/label_audit#on_change_view`, params: { again: true } };
    const timer = setInterval(() => tell(panel, event), ASKED_AGAIN_AFTER);
    return () => clearInterval(timer);
  }, [isBehind]);
  const last = selected.at(-1);
  useEffect(() => {
    if (last && !opened) queue.open(last);
  }, [last]);
  useEffect(() => {
    queue.isSampleOpen = () => Boolean(opened);
    queue.selected = selected;
    queue.confused = texts.confused;
    queue.onChanged = (documents) => updateGrid(documents.map((document) => [document._id, document]));
    queue.onFollowed = queue.onUndone = () => {
      batches.refresh();
      matrix.refresh();
    };
    queue.onSaved = () => matrix.refreshSoon();
    queue.onQuiet = () => executeOperator("reload_samples");
  });

  return h(
    Box,
    { "data-cy": "review", sx: { display: "flex", flexDirection: "column", gap: 1.5 } },
    h(Reviewed, { progress: state.progress }),
    h(
      Box,
      { sx: FRAME },
      state.sheet ? h(Sheet, { state }) : h(OneByOne, { state, selected, opened, texts }),
      h(Said, { state }),
      // Below the buttons, so that these stay where they are.
      state.problem && h(Alert, { severity: "error", onClose: () => queue.set({ problem: null }) }, state.problem),
      state.conflict && h(Conflict, { conflict: state.conflict }),
      !state.sheet && (state.start ? h(Start) : h(Keys)),
      !state.sheet && state.current && state.current.suspicion !== null && h(Explanation, { queue })
    ),
    h(Found, { progress: state.progress, texts }),
    h(
      Box,
      { sx: { display: "flex", flexWrap: "wrap", gap: 1 } }, // side by side while they are closed
      h(Batches, { state }),
      h(ClassMatrix, { state, class_label, suggested }),
      h(Plan, { state }),
      h(Team, { state, team, setTeam, user: texts.user })
    )
  );
}

function Keys() {
  return h(Typography, { variant: "body2", color: "text.secondary", sx: { fontStyle: "italic" } }, KEYS);
}

function OneByOne({ state, selected, opened, texts }) {
  return h(Fragment, null, h(Sample, { state, opened }), h(Decisions, { state, selected, opened, texts }));
}

function Reviewed({ progress }) {
  if (!progress) return null;
  const { flagged, reviewed } = progress;
  const share = flagged ? reviewed / flagged : 1;
  const text = `${number(reviewed)} / ${number(flagged)} reviewed (${percent(share)})`;
  return h(Typography, { variant: "subtitle1", sx: { whiteSpace: "nowrap" } }, text);
}

function Found({ progress, texts }) {
  if (!progress) return null;
  const { checked, found_wrong, expected_wrong, unexpected, to_apply } = progress;
  const direction = found_wrong > expected_wrong ? "more" : "fewer";
  return h(
    Fragment,
    null,
    texts.least_checked !== null &&
      checked >= texts.least_checked &&
      h(
        Typography,
        { variant: "body2" },
        `Of ${counted(checked, "flag")} decided on since the audit, `,
        h("b", null, `${number(found_wrong)} (${percent(found_wrong / checked)})`),
        ` had a wrong label; the audit expected ${percent(expected_wrong / checked)}.`,
        unexpected &&
          ` Chance alone rarely does that: the other flags may hold ${direction} wrong labels than expected, too.`
      ),
    to_apply > 0 &&
      h(
        Alert,
        { severity: "info" },
        `${counted(to_apply, "corrected label")} ${to_apply === 1 ? "is" : "are"} not in `,
        `'${texts.label_field}' yet: choose 'Apply'.`
      )
  );
}

function Conflict({ conflict }) {
  const { decision } = conflict.card;
  const text = decision
    ? `${decision.by} ${VERBS[decision.action] ?? "decided"} ${ago(decision.seconds)}. Replace that decision?`
    : "The decision that you saw was undone meanwhile. Decide?";
  return h(
    Alert,
    { severity: "warning" },
    h(Box, null, text),
    h(SmallButton, { onClick: () => queue.replace(conflict), sx: { mt: 1, mr: 1 } }, "Replace it"),
    h(SmallButton, { onClick: () => queue.next(), sx: { mt: 1 } }, "Keep it")
  );
}
