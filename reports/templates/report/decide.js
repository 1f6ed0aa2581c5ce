// Decisions in the page: kept in the browser, and saved as the table that `influence-audit apply` reads.
const STORED = `influence-audit-decisions-${page.decisions.key}`;
const KEYS = Object.fromEntries(Object.entries(page.decisions.keys).map(([action, key]) => [key, action]));
const decisions = new Map();

function restoreDecisions() {
  let stored = {};
  try { stored = JSON.parse(kept(STORED) ?? "{}"); } catch (error) { /* not ours: as if there were none */ }
  const ids = new Set(samples.map((sample) => sample.id));
  for (const [id, decision] of Object.entries(stored)) {
    if (ids.has(id) && decision && decision.action in page.decisions.statuses) decisions.set(id, decision);
  }
}

function decide(sample, action, label = null) {
  const before = decisions.get(sample.id);
  const chosenLabel = action === "relabel" ? label ?? suggestion(sample) : null;
  if (action === "relabel" && (chosenLabel === null || chosenLabel === sample.given)) return;
  if (before && before.action === action && before.label === chosenLabel) decisions.delete(sample.id);
  else decisions.set(sample.id, { action, label: chosenLabel, at: new Date().toISOString() });
  keep(STORED, JSON.stringify(Object.fromEntries(decisions)));
  showDecisions();
}

function decisionButtons(sample) {
  const buttons = Object.keys(page.decisions.statuses).map((action) => {
    const button = element("button", { type: "button", class: "choice", title: say(`${action}_help`, { key: page.decisions.keys[action].toUpperCase() }) }, [words[action]]);
    button.dataset.action = action;
    button.addEventListener("click", (event) => { event.stopPropagation(); decide(sample, action); });
    return button;
  });
  const node = element("div", { class: "decide-buttons", role: "group", "aria-label": say("decide_on", { id: sample.id }) }, buttons);
  node.dataset.decides = sample.id;
  pressed(node);
  return node;
}

function pressed(node) {
  const decision = decisions.get(node.dataset.decides);
  for (const button of node.querySelectorAll(".choice")) {
    button.setAttribute("aria-pressed", String(decision !== undefined && decision.action === button.dataset.action));
  }
  node.closest("li")?.classList.toggle("decided", decision !== undefined);
}

function showDecisions() {
  for (const node of document.querySelectorAll("[data-decides]")) pressed(node);
  const total = now.flagged;
  document.getElementById("decided-count").textContent = say("decided", { number: whole(decisions.size), total: whole(total) });
  document.getElementById("decisions-save").disabled = decisions.size === 0;
  document.getElementById("decisions-clear").hidden = decisions.size === 0;
}

// A cell that a spreadsheet would run as a formula gets an apostrophe, as audit/files/spreadsheet.py does it.
const formula = new RegExp(`^(?:${page.decisions.formula})`, "u"), plainNumber = new RegExp(`^(?:${page.decisions.number})$`, "u");
const safe = (text) => (formula.test(text) && !plainNumber.test(text) ? `'${text}` : text);
const cell = (text) => (/[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function decisionTable() {
  const byId = new Map(samples.map((sample) => [sample.id, sample]));
  const rows = [...decisions].map(([id, decision]) => {
    const sample = byId.get(id);
    const values = { id, key: sample.key ?? id, filepath: sample.path ?? "", status: page.decisions.statuses[decision.action],
      old_label: sample.given, new_label: decision.label ?? "", suspicion: String(sample.suspicion), at: decision.at };
    return page.decisions.columns.map((column) => cell(safe(values[column])));
  });
  return [page.decisions.columns, ...rows].map((row) => row.join(",")).join("\r\n");
}

function saveDecisions() {
  const url = URL.createObjectURL(new Blob(["\ufeff", decisionTable(), "\r\n"], { type: "text/csv" }));
  element("a", { href: url, download: page.decisions.file }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// A key decides on the card that has the focus, or on the sample that is open, and goes on to the next one.
function decideByKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const action = KEYS[event.key.toLowerCase()];
  const arrow = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (action === undefined && arrow === undefined) return;
  if (sheet.open) {
    if (action === undefined) return;
    decide(samples[opened.list[opened.number]], action);
    if (opened.number + 1 < opened.list.length) move(1); else showSheet();
    return;
  }
  const item = event.target.closest("#flagged-gallery > li");
  if (!item) return;
  event.preventDefault();
  if (action !== undefined) decide(byShownId(item.querySelector(".card").dataset.sample), action);
  const next = arrow === -1 ? item.previousElementSibling : item.nextElementSibling;
  if (next) next.querySelector(".card").focus();
  else if (arrow !== -1 && !document.getElementById("flagged-more").hidden) {
    document.getElementById("flagged-more").click();
    item.nextElementSibling?.querySelector(".card").focus();
  }
}

const byShownId = (id) => samples.find((sample) => sample.id === id);

function startDecisions() {
  restoreDecisions();
  document.addEventListener("keydown", decideByKey);
  document.getElementById("decisions-save").addEventListener("click", saveDecisions);
  document.getElementById("decisions-clear").addEventListener("click", () => {
    if (!window.confirm(words.clear_decisions)) return;
    decisions.clear();
    keep(STORED, "{}");
    showDecisions();
  });
  document.getElementById("decisions").hidden = false;
}
