// One key a class: the likeliest classes as buttons, and a field to type the name of any other.

import { SmallButton } from "./small_button.js";

const { createElement: h, useState } = window.React;
const { Autocomplete, Box, TextField } = window.__mui__;
const BUTTONS = 3;
const CUT = { overflow: "hidden", textOverflow: "ellipsis" };

// At most three classes with their probabilities: the likelier of the suggested and the given one, the other of the
// two, then what comes next. That is known once the nearest pictures are, and takes an empty place: no button changes
// its class. Where there are no nearest pictures, it is the class that the given one is most often taken for (by its
// name, from `confused`), without a probability.
export function likeliest({ sample, given, suggested, probability, suspicion }, { explanations, confused }) {
  const found = new Map();
  if (suggested) found.set(suggested, probability);
  if (given && suspicion !== null) found.set(given, 1 - suspicion);
  const first = [...found].sort(([, one], [, two]) => (two ?? -1) - (one ?? -1));
  const nearest = explanations.nearest.get(sample);
  const taken = confused?.[given];
  const next = nearest?.others ?? (nearest && taken ? [[taken, null]] : []);
  const classes = [...first, ...next.filter(([label]) => !found.has(label))].slice(0, BUTTONS);
  return classes.map(([label, share]) => ({ label, share, isGiven: label === given }));
}

// What a class means as a decision: the given one dismisses the flag, the suggested one accepts the suggestion.
export function decisionFor(card, label) {
  if (label === card.given) return ["dismiss"];
  return label === card.suggested ? ["accept"] : ["relabel", label];
}

// Their places are the same for every sample, so that nothing moves under the pointer.
export function LabelChoice({ card, isOff, decideOn, queue }) {
  const classes = card && card.suspicion !== null ? likeliest(card, queue) : [];
  const button = ({ label, share, isGiven }, number) =>
    h(
      SmallButton,
      {
        ...{ key: number, disabled: isOff, title: label },
        onClick: () => decideOn(...decisionFor(card, label)),
        sx: { whiteSpace: "nowrap", minWidth: 0, justifyContent: "flex-start" },
      },
      h("b", { style: { marginRight: 6 } }, number + 1),
      h("span", { style: CUT }, `${label}${isGiven ? " (given)" : ""}`),
      share !== null && h("span", null, `\u00a0· ${share.toFixed(2)}`)
    );
  return h(
    Box,
    { sx: { display: "grid", gridTemplateColumns: `repeat(${BUTTONS}, minmax(0, 1fr))`, gap: 1, minHeight: 31 } },
    classes.map(button)
  );
}

// Enter takes what is typed; Escape closes the field.
LabelChoice.Other = function Other({ queue, decideOn, classes }) {
  const [typed, setTyped] = useState("");
  const take = (label) => {
    if (!label?.trim()) return;
    queue.set({ asksLabel: false });
    decideOn("relabel", label.trim());
  };
  return h(Autocomplete, {
    freeSolo: true,
    autoHighlight: true,
    openOnFocus: true,
    options: classes ?? [],
    inputValue: typed,
    onInputChange: (_, value) => setTyped(value),
    onChange: (_, value) => take(value),
    onKeyDown: (event) => {
      event.stopPropagation();
      if (event.key === "Escape") queue.set({ asksLabel: false });
    },
    size: "small",
    renderInput: (params) =>
      h(TextField, { ...params, autoFocus: true, label: "Right label", placeholder: "Type a class and press Enter" }),
  });
};
