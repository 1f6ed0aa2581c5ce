// Words of the review: counts, shares, times and decisions.

export const VERBS = {
  accept: "accepted the suggestion",
  apply: "applied the correction",
  confirm: "confirmed the mistake",
  dismiss: "dismissed the flag",
  relabel: "relabelled it",
  remove: "marked it for removal",
  unsure: "could not say",
};

export const number = (value) => value.toLocaleString("en");
export const counted = (value, thing) => `${number(value)} ${thing}${value === 1 ? "" : "s"}`;
export const percent = (share) => `${Math.round(100 * share)}%`;

export function ago(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 2 * 86_400 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86_400)} days ago`;
}
