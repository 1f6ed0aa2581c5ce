// Training samples that speak for and against the label of the sample that is on screen.

import { pictureOf } from "./server.js";

const { createElement: h, Fragment } = window.React;
const { Alert, Box, Button, Typography } = window.__mui__;

export function Explanation({ queue }) {
  if (!queue.explaining) {
    return h(Box, null, h(Button, { size: "small", variant: "outlined", sx: { textTransform: "none" }, onClick: () => queue.toggleExplanations() }, "Why is it suspect?"));
  }
  const found = queue.explained.get(queue.state.current.sample);
  const hide = h(Button, { size: "small", sx: { textTransform: "none" }, onClick: () => queue.toggleExplanations() }, "Hide explanations");
  if (!found) return h(Box, null, h("i", null, "Looking for what speaks for and against the label …"), hide);
  if (found.error) return h(Box, null, h(Alert, { severity: "warning" }, found.error), hide);
  return h(Fragment, null, h(Side, { found, side: "helpful", word: "for" }), h(Side, { found, side: "harmful", word: "against" }), h(Box, null, hide));
}

function Side({ found, side, word }) {
  return h(
    Box,
    null,
    h(Typography, { variant: "body2" }, "Training samples that speak ", h("b", null, word), ` '${found.label}'`),
    h(
      Box,
      { sx: { display: "grid", gridTemplateColumns: "repeat(6, minmax(0, 1fr))", gap: 1, mt: 0.5 } },
      found[side].map(({ id, filepath, label }) =>
        h(
          Box,
          { key: id, sx: { overflowWrap: "anywhere", fontSize: 13, minHeight: 86 } },
          h("img", {
            src: pictureOf(filepath),
            alt: label,
            onClick: () => window.__foo__.executeOperator("open_sample", { id }),
            style: { height: 64, maxWidth: "100%", objectFit: "contain", cursor: "pointer" },
          }),
          h("div", null, label)
        )
      )
    )
  );
}
