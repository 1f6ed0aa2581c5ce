// What the review asks the server: one operator that answers with data and changes nothing in the page.

const OPERATOR = "@influence-audit/influence-audit/review_samples";
const MOST_KEPT_ALIVE = 60_000; // bytes: browsers refuse more than 64 KiB to outlive the page

// The answer to `params`, for the dataset and view in `context`. `keepalive` lets it arrive although the page is left.
export async function ask(context, params, keepalive = false) {
  const { origin, pathPrefix, headers } = window.__fou__.getFetchParameters(); // @fiftyone/utilities
  const body = JSON.stringify({ ...context, operator_uri: OPERATOR, params });
  const response = await fetch(`${origin}${pathPrefix ?? ""}/operators/execute`, {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json" },
    body,
    keepalive: keepalive && body.length < MOST_KEPT_ALIVE,
  });
  const answer = await response.json().catch(() => ({}));
  const problem = answer.result?.error ?? answer.error_message ?? answer.error;
  if (!response.ok || problem || !answer.result) {
    throw new Error(typeof problem === "string" ? problem : `the App's server answered ${response.status}`);
  }
  return answer.result;
}

export function pictureOf(filepath) {
  const { origin, pathPrefix } = window.__fou__.getFetchParameters();
  return `${origin}${pathPrefix ?? ""}/media?filepath=${encodeURIComponent(filepath)}`;
}
