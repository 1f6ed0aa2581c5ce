// The buttons of the review, and what they and the keys do: decide on the sample that is on screen, or on a selection.

import { decisionFor, LabelChoice, likeliest } from "./label_choice.js";
import { queue } from "./queue.js";
import { SmallButton } from "./small_button.js";

const { createElement: h, Fragment, useEffect, useState } = window.React;
const { Box, Typography } = window.__mui__;
const { executeOperator, usePanelEvent } = window.__foo__; // @fiftyone/operators
const PLUGIN = "@influence-audit/influence-audit";

export function Decisions({ state, selected, opened, texts }) {
  const { current, asksLabel } = state;
  const tell = usePanelEvent();
  const panel = window.__fosp__.usePanelId();
  const many = !opened && selected.length > 1 ? selected.length : 0;
  const cannot = !many && (!current || current.suspicion === null);
  const button = (label, onClick, isOff = false, variant = "outlined") =>
    h(SmallButton, { key: label, variant, disabled: isOff, onClick, sx: { whiteSpace: "nowrap" } }, label);
  const decide = (label, action, variant) =>
    button(many ? `${label} (${many})` : label, () => decideOn(action), cannot, variant);
  const byHand = () =>
    tell(panel, { operator: `${PLUGIN}/label_audit#label_by_hand`, params: { sample: current.sample } });
  return h(
    Fragment,
    null,
    h(LabelChoice, { card: current, isOff: many > 0, decideOn, queue }),
    h(
      Box,
      { sx: { display: "flex", flexWrap: "wrap", gap: 1 } },
      decide("Accept suggestion", "accept", "contained"),
      decide("Confirm mistake", "confirm"),
      decide("Dismiss", "dismiss"),
      decide("Unsure", "unsure"),
      button(many ? `Relabel (${many})` : "Relabel", () => queue.set({ asksLabel: !asksLabel }), cannot),
      button("Label by hand", byHand, cannot || many > 0),
      button("Undo last", () => queue.undo()),
      button("Next", () => goOn())
    ),
    asksLabel && h(LabelChoice.Other, { queue, decideOn, classes: texts.classes }),
    many > 1 &&
      h(
        Typography,
        { variant: "body2" },
        h("i", null, `Accepting ${many.toLocaleString("en")} suggestions without looking at each?`),
        ` ${texts.accepting}`
      )
  );
}

export function Said({ state }) {
  const [flash, setFlash] = useState(false);
  useEffect(() => {
    if (!state.early) return;
    setFlash(true);
    const timer = setTimeout(() => setFlash(false), 1500);
    return () => clearTimeout(timer);
  }, [state.early]);
  const text = flash ? "That key came before the picture: it was ignored." : state.outcome;
  const color = flash ? "warning.main" : "text.secondary";
  return h(Typography, { variant: "body2", role: "status", sx: { minHeight: "1.5em", color } }, text ?? "\u00a0");
}

// A decision on what is selected, or else on the sample that is on screen.
export function decideOn(action, label = null) {
  const { selected = [], isSampleOpen } = queue;
  if (selected.length > 1 && !isSampleOpen?.()) {
    queue.decideOn(action, label, selected).then(() => executeOperator("clear_selected_samples"));
    return;
  }
  const before = queue.state.current;
  queue.decide(action, label);
  if (queue.state.current !== before) showCurrent();
  if (selected.length) executeOperator("clear_selected_samples");
}

// The decision of the key of a class: 0 for the likeliest one.
export function decideFor(number) {
  const { current } = queue.state;
  const choice = current && likeliest(current, queue)[number];
  if (choice) decideOn(...decisionFor(current, choice.label));
}

export function goOn() {
  Promise.resolve(queue.next()).then(showCurrent);
}

// In the sample view the picture moves, too.
function showCurrent() {
  const { current } = queue.state;
  if (current && queue.isSampleOpen?.()) executeOperator("open_sample", { id: current.sample });
}
