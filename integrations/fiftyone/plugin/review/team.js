// Several reviewers: the name that decisions are logged under, the part of the samples that this window shows, second
// opinions, and how often reviewers agree. The browser keeps it for each dataset.

import { queue } from "./queue.js";
import { SmallButton } from "./small_button.js";
import { counted, percent } from "./words.js";

const { createElement: h, Fragment, useState } = window.React;
const { Box, MenuItem, TextField, Typography } = window.__mui__;
const { executeOperator } = window.__foo__; // @fiftyone/operators
const MOST_REVIEWERS = 16;
const SHARES = [0, 0.05, 0.1, 0.2, 0.5, 1];
const ALONE = { reviewer: "", number: 1, reviewers: 1, second: 0 };
const Text = (props) => h(Typography, { variant: "body2", ...props });
const placeOf = (dataset) => `label-audit-team-${dataset}`;

function kept(dataset) {
  try {
    return { ...ALONE, ...JSON.parse(localStorage.getItem(placeOf(dataset)) ?? "{}") };
  } catch {
    return ALONE; // nothing is kept, or the browser keeps nothing
  }
}

// The team of a dataset, null where one person reviews all under the name that the computer has; and how to change it.
export function useTeam(dataset) {
  const [changes, setChanges] = useState(0);
  const team = dataset ? kept(dataset) : ALONE;
  const change = (values) => {
    try {
      localStorage.setItem(placeOf(dataset), JSON.stringify({ ...team, ...values }));
    } catch {
      queue.set({ problem: "this browser keeps nothing, so the team cannot be set" });
    }
    setChanges(changes + 1);
  };
  return [JSON.stringify(team) === JSON.stringify(ALONE) ? null : team, change];
}

async function showAgreement() {
  await queue.saved();
  const found = await queue.ask({ do: "agreement" });
  if (found) queue.set({ agreement: found });
}

export function Team({ state: { agreement }, team, setTeam, user }) {
  const [isOpen, setOpen] = useState(false);
  const { reviewer, number, reviewers, second } = team ?? ALONE;
  const name = reviewer.trim() || user;
  const part = reviewers > 1 ? `, part ${number} of ${reviewers}` : "";
  const also = second > 0 ? `, second opinion on ${percent(second)}` : "";
  const heading = `Reviewer: ${name}${part}${also}`;
  if (!isOpen) return h(SmallButton, { onClick: () => setOpen(true) }, heading);
  const choice = (label, value, values, key, shown = (one) => one) =>
    h(
      TextField,
      {
        ...{ select: true, size: "small", label, value, sx: { minWidth: 130 }, "data-cy": `team-${key}` },
        onChange: ({ target }) => setTeam(changed(key, target.value, team ?? ALONE)),
      },
      values.map((one) => h(MenuItem, { key: one, value: one }, shown(one)))
    );
  const upTo = (count) => Array.from({ length: count }, (_, place) => place + 1);
  return h(
    Box,
    { "data-cy": "team", sx: { width: "100%", display: "flex", flexDirection: "column", gap: 1.5 } },
    h(Text, null, "Each reviewer has a part of the samples, the same one in every window. Decisions carry the name."),
    h(
      Box,
      { sx: { display: "flex", flexWrap: "wrap", gap: 1.5 } },
      h(Name, { key: reviewer, reviewer, user, setTeam }),
      choice("Reviewers", reviewers, upTo(MOST_REVIEWERS), "reviewers"),
      choice("Your part", number, upTo(reviewers), "number"),
      choice("Second opinions", second, SHARES, "second", percent)
    ),
    agreement && h(Agreement, { agreement }),
    h(
      Box,
      { sx: { display: "flex", gap: 1 } },
      h(SmallButton, { onClick: showAgreement }, "How often do reviewers agree?"),
      h(SmallButton, { variant: "text", onClick: () => setOpen(false) }, "Hide")
    )
  );
}

// A name counts once it is typed: Enter, or a click elsewhere.
function Name({ reviewer, user, setTeam }) {
  const [typed, setTyped] = useState(reviewer);
  const take = () => typed !== reviewer && setTeam({ reviewer: typed });
  return h(TextField, {
    ...{ size: "small", label: "Reviewer", value: typed, placeholder: user, "data-cy": "team-reviewer" },
    onChange: ({ target }) => setTyped(target.value),
    onBlur: take,
    onKeyDown: (event) => {
      event.stopPropagation();
      if (event.key === "Enter") take();
    },
  });
}

function changed(key, value, { number }) {
  const values = { [key]: Number(value) };
  return key === "reviewers" && number > values.reviewers ? { ...values, number: values.reviewers } : values;
}

function Agreement({ agreement: { both, agreed, differing, view } }) {
  if (!both) return h(Text, null, "No sample was decided on by two reviewers yet.");
  const show = () => executeOperator("set_view", { view });
  return h(
    Fragment,
    null,
    h(
      Text,
      null,
      `Two reviewers decided on ${counted(both, "sample")} and agree on ${agreed} (${percent(agreed / both)}).`
    ),
    differing.length > 0 &&
      h(Box, null, h(SmallButton, { onClick: show }, `Show where they differ (${differing.length})`))
  );
}
