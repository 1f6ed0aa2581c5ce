// The matrix of classes: how many samples wait for a decision, by given and suggested class. It counts what view and
// filters of the grid leave, and marks the sample on screen; a click on a cell shows its samples in the grid.

import { queue } from "./queue.js";
import { SmallButton } from "./small_button.js";
import { counted, number } from "./words.js";

const { createElement: h } = window.React;
const { Box, Typography } = window.__mui__;
const { usePanelEvent } = window.__foo__; // @fiftyone/operators
const PLUGIN = "@influence-audit/influence-audit";
const COUNT_AFTER = 700; // milliseconds without a decision, before it counts again
const CELL = 34; // pixels
const CUT = { overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" };

export const matrix = {
  async show() {
    await queue.saved();
    const found = await queue.ask({ do: "matrix" });
    if (found) queue.set({ matrix: found });
  },

  refresh() {
    if (queue.state.matrix) this.show();
  },

  refreshSoon() {
    clearTimeout(this.waiting);
    if (queue.state.matrix) this.waiting = setTimeout(() => this.refresh(), COUNT_AFTER);
  },

  hide() {
    queue.set({ matrix: null });
  },
};

export function ClassMatrix({ state, class_label, suggested }) {
  const { matrix: found, current } = state;
  const tell = usePanelEvent();
  const panel = window.__fosp__.usePanelId();
  if (!found) return h(SmallButton, { onClick: () => matrix.show() }, "Class matrix");
  const choose = (pair) => tell(panel, { operator: `${PLUGIN}/label_audit#choose_pair`, params: pair });
  const { classes, counts, left_out, classes_left_out } = found;
  const most = Math.max(1, ...counts.flat());
  const isChosen = (given, other) => given === class_label && other === suggested;
  const cells = classes.flatMap((given, row) => [
    h(Box, { key: given, title: given, sx: { ...CUT, fontSize: 13, pr: 1, textAlign: "right" } }, given),
    ...classes.map((other, column) => {
      const isCurrent = current?.given === given && current?.suggested === other;
      const props = { given, other, count: counts[row][column], most, isCurrent, isChosen: isChosen(given, other) };
      return h(Cell, { key: `${given} ${other}`, ...props, choose });
    }),
  ]);
  const heads = classes.map((label) =>
    h(Box, { key: label, title: label, sx: { ...CUT, fontSize: 11, textAlign: "center" } }, label)
  );
  const columns = `minmax(40px, 120px) repeat(${classes.length}, minmax(20px, ${CELL}px))`;
  return h(
    Box,
    { "data-cy": "matrix", sx: { width: "100%", display: "flex", flexDirection: "column", gap: 1 } },
    h(
      Typography,
      { variant: "body2" },
      classes.length
        ? "Undecided samples by given class (rows) and suggested class (columns). A click shows them in the grid:"
        : "No undecided sample in this view has another label suggested."
    ),
    classes.length > 0 &&
      h(Box, { sx: { display: "grid", gridTemplateColumns: columns, gap: "2px" } }, h("span"), heads, cells),
    classes_left_out > 0 &&
      h(Typography, { variant: "body2" }, `${counted(left_out, "sample")} of other classes are not in it.`),
    h(Box, null, h(SmallButton, { variant: "text", onClick: () => matrix.hide() }, "Hide matrix"))
  );
}

function Cell({ given, other, count, most, isCurrent, isChosen, choose }) {
  const share = count ? 0.15 + 0.85 * (count / most) : 0;
  const outline = isChosen ? "3px solid #ff6d04" : isCurrent ? "2px dashed #3b82f6" : "1px solid #8884";
  return h(
    "button",
    {
      type: "button",
      disabled: !count && !isChosen,
      title: `${given} → ${other}: ${number(count)}${isCurrent ? " (the sample on screen)" : ""}`,
      "aria-pressed": isChosen,
      // It says what it wants: what the server takes to be shown may be of a moment ago.
      onClick: () => choose(isChosen ? {} : { given, suggested: other }),
      style: {
        ...{ height: CELL - 8, padding: 0, border: 0, borderRadius: 3, outline, outlineOffset: -1, fontSize: 12 },
        ...{ background: count ? `rgba(46, 139, 87, ${share})` : "transparent", color: "inherit" },
        cursor: count || isChosen ? "pointer" : "default",
      },
    },
    count ? number(count) : ""
  );
}
