// What is left to do: how many decisions found how much so far, and how many more would find most of the rest.

import { queue } from "./queue.js";
import { SmallButton } from "./small_button.js";
import { number, percent } from "./words.js";

const { createElement: h } = window.React;
const { Box, Typography } = window.__mui__;
const CELL = { padding: "2px 12px 2px 0", textAlign: "right", whiteSpace: "nowrap" };
const Text = (props) => h(Typography, { variant: "body2", ...props });

async function show() {
  await queue.saved();
  const found = await queue.ask({ do: "plan" });
  if (found) queue.set({ plan: found });
}

export function Plan({ state: { plan } }) {
  const button = (text, onClick) => h(SmallButton, { key: text, onClick, sx: { mr: 1 } }, text);
  if (!plan) return h(SmallButton, { onClick: show }, "How much is left?");
  return h(
    Box,
    { "data-cy": "plan", sx: { width: "100%", display: "flex", flexDirection: "column", gap: 1 } },
    ...plan.sentences.map((text, place) => h(Text, { key: place }, text)),
    h(Yield, { bins: plan.bins }),
    h(Box, null, button("Count again", show), button("Hide plan", () => queue.set({ plan: null })))
  );
}

function Yield({ bins }) {
  const some = bins.filter(({ decided, left }) => decided + left > 0);
  const rows = some.map(({ low, high, decided, found_wrong, left, expected_left }) => {
    const texts = [`${low.toFixed(2)} to ${high.toFixed(2)}`, number(decided)];
    const found = decided ? `${number(found_wrong)} (${percent(found_wrong / decided)})` : "–";
    const values = [...texts, found, number(left), number(Math.round(expected_left))];
    return h("tr", { key: low }, values.map((text, place) => h("td", { key: place, style: CELL }, text)));
  });
  const heads = ["Suspicion", "Decided", "Wrong", "Left", "Expected wrong"];
  return h(
    "table",
    { style: { fontSize: 13, borderCollapse: "collapse", width: "fit-content" } },
    h("thead", null, h("tr", null, heads.map((text) => h("th", { key: text, style: CELL }, text)))),
    h("tbody", null, rows)
  );
}
