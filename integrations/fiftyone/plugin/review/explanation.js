// The pictures most like the one on screen, and the training samples that speak for and against its label.

import { SmallButton } from "./small_button.js";

const { createElement: h, Fragment } = window.React;
const { Box, Typography } = window.__mui__;
const { executeOperator } = window.__foo__; // @fiftyone/operators

const SIDE = 80; // pixels of a small picture, at most
const COLUMNS = 6; // columns: all pictures of a row are side by side

const Text = (props) => h(Typography, { variant: "body2", ...props });
const Muted = (props) => h(Text, { color: "text.secondary", ...props });

export function Explanation({ queue }) {
  const { explanations, state } = queue;
  const nearest = explanations.nearest.get(state.current.sample);
  return h(
    Box,
    { "data-cy": "nearest", sx: { display: "flex", flexDirection: "column", gap: 1 } },
    nearest ? h(Nearest, { nearest }) : h(Muted, null, "Looking for the pictures most like it …"),
    h(Influence, { queue })
  );
}

function Nearest({ nearest }) {
  if (nearest.error) return h(Muted, null, `The pictures most like it cannot be shown: ${nearest.error}`);
  const { given, other, of_given, of_other, most, votes, voting } = nearest;
  return h(
    Fragment,
    null,
    voting > 0 && h(Text, null, `${votes} of the ${voting} nearest are labelled `, h("b", null, most)),
    h(Row, { title: ["Most like it of those labelled ", h("b", { key: "class" }, given)], pictures: of_given }),
    other && h(Row, { title: ["Most like it of those labelled ", h("b", { key: "class" }, other)], pictures: of_other })
  );
}

function Influence({ queue }) {
  const { explanations, state } = queue;
  const button = (text) => h(Box, null, h(SmallButton, { onClick: () => explanations.toggleInfluence() }, text));
  if (!explanations.withInfluence) return button("Why is it suspect?");
  const found = explanations.influence.get(state.current.sample);
  const hide = button("Hide influence");
  if (!found) return h(Fragment, null, h(Muted, null, "Looking for what speaks for and against it …"), hide);
  if (found.error) return h(Fragment, null, h(Muted, null, found.error), hide);
  const title = (word) => ["Training samples that speak ", h("b", { key: "side" }, word), ` '${found.label}'`];
  return h(
    Fragment,
    null,
    h(Row, { title: title("for"), pictures: found.helpful }),
    h(Row, { title: title("against"), pictures: found.harmful }),
    hide
  );
}

// A framed picture is one whose own label is suspect.
function Row({ title, pictures }) {
  return h(
    Box,
    null,
    h(Text, null, ...title, pictures.length ? "" : ": none"),
    h(
      Box,
      { sx: { display: "grid", gridTemplateColumns: `repeat(${COLUMNS}, minmax(0, ${SIDE}px))`, gap: 1, mt: 0.5 } },
      pictures.map(({ id, picture, label, flagged }) =>
        h(
          Box,
          { key: id, sx: { fontSize: 12, lineHeight: 1.3, overflowWrap: "anywhere" } },
          h("img", {
            src: picture ?? undefined,
            alt: label ?? "",
            title: flagged ? `${label}: this label is suspect, too` : label,
            onClick: () => executeOperator("open_sample", { id }),
            style: {
              ...{ width: "100%", aspectRatio: "1", objectFit: "contain", cursor: "pointer", background: "#8882" },
              ...{ display: "block", borderRadius: 3, outline: flagged ? "3px solid #ff6d04" : "none" },
            },
          }),
          h(
            "div",
            { style: { maxHeight: "2.6em", overflow: "hidden", marginTop: flagged ? 4 : 0 } },
            label,
            flagged ? " (flagged)" : ""
          )
        )
      )
    )
  );
}
