// Deciding on many samples at once: of the samples with one given and one suggested label, a contact sheet ordered by
// likeness. A click takes a picture out, and one decision is made on all that are left; one undo takes it back.

import { queue } from "./queue.js";
import { SmallButton } from "./small_button.js";
import { counted, number } from "./words.js";

const { createElement: h, Fragment } = window.React;
const { Box, Typography } = window.__mui__;
const { executeOperator } = window.__foo__; // @fiftyone/operators
const SIDE = 84; // pixels of a picture

export const batches = {
  isOpen: () => Boolean(queue.state.sheet),

  // The class pairs of the samples that filters and view leave, the most frequent first.
  async list() {
    const found = await queue.ask({ do: "pairs" });
    if (found) queue.set({ pairs: found.pairs });
  },

  async open({ given, suggested }) {
    await queue.saved();
    const found = await queue.ask({ do: "sheet", given, suggested });
    if (!found) return;
    const hasSome = found.cards.length > 0;
    queue.set({ sheet: hasSome ? { given, suggested, ...found, excepted: new Set() } : null });
    if (!hasSome) this.list();
  },

  close() {
    queue.set({ sheet: null });
    this.list();
  },

  // Look again at what filters, a decision or an undo have changed.
  async refresh() {
    const { sheet, pairs } = queue.state;
    if (sheet) await this.open(sheet);
    else if (pairs) await this.list();
  },

  except(sample) {
    const { sheet } = queue.state;
    const excepted = new Set(sheet.excepted);
    if (!excepted.delete(sample)) excepted.add(sample);
    queue.set({ sheet: { ...sheet, excepted } });
  },

  chosen() {
    const { cards, excepted } = queue.state.sheet;
    return cards.map(({ sample }) => sample).filter((sample) => !excepted.has(sample));
  },

  async decide(action) {
    const samples = this.chosen();
    queue.set({ sheet: { ...queue.state.sheet, isDeciding: true }, problem: null });
    await queue.decideOn(action, null, samples, "");
    executeOperator("reload_samples");
    await this.refresh();
  },
};

export function Batches({ state: { pairs, sheet } }) {
  if (sheet) return null;
  if (!pairs) return h(SmallButton, { onClick: () => batches.list() }, "Decide in batches");
  return h(
    Box,
    { "data-cy": "pairs", sx: { width: "100%" } },
    h(
      Typography,
      { variant: "body2" },
      pairs.length
        ? "Flagged samples by given and suggested label. A click shows all of a pair:"
        : "No undecided sample in this view has another label suggested."
    ),
    h(
      Box,
      { sx: { display: "flex", flexWrap: "wrap", gap: 1, mt: 1 } },
      pairs.map((pair) =>
        h(
          SmallButton,
          { key: `${pair.given} ${pair.suggested}`, onClick: () => batches.open(pair) },
          `${pair.given} → ${pair.suggested} (${number(pair.count)})`
        )
      ),
      h(SmallButton, { variant: "text", onClick: () => queue.set({ pairs: null }) }, "Hide")
    )
  );
}

export function Sheet({ state: { sheet } }) {
  const { given, suggested, total, cards, excepted, isDeciding } = sheet;
  const left = cards.length - excepted.size;
  const button = (text, action, variant) =>
    h(
      SmallButton,
      {
        ...{ key: action, disabled: !left || isDeciding, onClick: () => batches.decide(action) },
        ...(variant ? { variant } : {}),
      },
      `${text} (${number(left)})`
    );
  const more = total > cards.length ? ` The first ${number(cards.length)} are shown.` : "";
  return h(
    Fragment,
    null,
    h(
      Typography,
      { variant: "subtitle2" },
      `${given} → ${suggested}: ${counted(total, "sample")}, those that are alike side by side.${more}`
    ),
    h(
      Box,
      { sx: { display: "flex", flexWrap: "wrap", gap: 1 } },
      button(`All are ${suggested}`, "accept", "contained"),
      button("Wrong, label open", "confirm"),
      button(`All are ${given}`, "dismiss"),
      button("Unsure", "unsure"),
      h(SmallButton, { onClick: () => queue.undo() }, "Undo last"),
      h(SmallButton, { onClick: () => batches.close() }, "Back")
    ),
    h(Typography, { variant: "body2", color: "text.secondary" }, "Click on exceptions: they are left undecided."),
    h(
      Box,
      {
        "data-cy": "sheet",
        sx: {
          ...{ display: "grid", gridTemplateColumns: `repeat(auto-fill, ${SIDE}px)`, gap: 1 },
          ...{ maxHeight: 560, overflowY: "auto", p: 0.5 },
        },
      },
      cards.map((card) => h(Tile, { key: card.sample, card, isExcepted: excepted.has(card.sample) }))
    )
  );
}

function Tile({ card: { sample, picture, suspicion }, isExcepted }) {
  return h("img", {
    src: picture ?? undefined,
    alt: isExcepted ? "excepted" : "chosen",
    title: `suspicion ${suspicion.toFixed(3)}${isExcepted ? ": left undecided" : ""}`,
    onClick: () => batches.except(sample),
    style: {
      ...{ width: SIDE, height: SIDE, objectFit: "contain", cursor: "pointer", background: "#8882", borderRadius: 3 },
      ...{ opacity: isExcepted ? 0.25 : 1, outline: isExcepted ? "none" : "2px solid #2e8b57" },
    },
  });
}
