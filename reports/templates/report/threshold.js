// The threshold: samples come most suspicious first, so a threshold is a number of samples from the top.
const KINDS = { suspicion: Float64Array, label: Uint32Array, other: Uint32Array, influence: Float32Array, wrong: Uint8Array };

function unpack(columns) {
  const unpacked = {};
  for (const [key, text] of Object.entries(columns)) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    unpacked[key] = new KINDS[key](bytes.buffer);
  }
  return unpacked;
}

const columns = unpack(chosen.columns);
const controls = chosen.controls && unpack({ suspicion: chosen.controls.suspicion, wrong: chosen.controls.wrong });
// Known mislabels by kind: the number in `wrong` less one; injected ones are of one kind.
const known = controls ? { ...controls, samples: chosen.controls.samples, totals: chosen.controls.totals }
  : columns.wrong ? { ...columns, samples: chosen.samples, totals: [chosen.wrong_total] } : null;
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
if (known) known.total = sum(known.totals);
let threshold = chosen.threshold;

function reaching(suspicions) {
  let low = 0, high = suspicions.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (suspicions[middle] >= threshold) low = middle + 1; else high = middle;
  }
  return low;
}

// Pairs of given and suggested label with the number of flagged samples, the most frequent first.
function pairsOf(flagged) {
  const counts = new Map();
  for (let place = 0; place < flagged; place += 1) {
    const label = columns.label[place], other = columns.other[place];
    if (label !== other) counts.set(label * chosen.classes + other, (counts.get(label * chosen.classes + other) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0])
    .map(([key, number]) => ({ given: chosen.names[Math.floor(key / chosen.classes)], other: chosen.names[key % chosen.classes], number }));
}

const share = (value) => `${(100 * value).toFixed(1)}%`;
const shownThreshold = () => {
  const decimals = [2, 3, 4, 5].find((n) => { const rounded = Number(threshold.toFixed(n)); return rounded > 0 && rounded < 1; });
  return threshold.toFixed(decimals ?? 2);
};
const isolated = (label) => `\u2068${shortened(named(label.trim()), page.limits.class_name)}\u2069`;

// As `pairs_in_words` in reports/wrong_labels_by_class.py, for the pairs at another threshold.
function inWords(pairs) {
  const first = pairs.slice(0, page.limits.pairs);
  if (!now.flagged) return "";
  if (sum(first.map((pair) => pair.number)) < page.limits.stands_out * now.flagged) return words.no_pair;
  if (now.flagged === 1) return say("one_flag", { given: isolated(first[0].given), other: isolated(first[0].other) });
  const listed = first.map((pair) => `${isolated(pair.given)} → ${isolated(pair.other)} (${whole(pair.number)})`);
  const text = listed.length > 1 ? `${listed.slice(0, -1).join(", ")} and ${listed.at(-1)}` : listed[0];
  return say(first.length === pairs.length ? "most_flags" : "frequent_flags", { pairs: text });
}

// As `share_range` in reports/ranges.py, for what is known as a range only.
const percentage = (value) => `${(100 * value).toFixed(value >= page.limits.whole_percent ? 0 : 1).replace(/\.0$/, "")}%`;
function shareRange(low, high) {
  const middle = (low + high) / 2, { wide, nearly_none, nearly_all, as_good_as_none } = page.limits;
  if (high < nearly_none) return words.no_share;
  if (high >= nearly_all && low < as_good_as_none) return words.any_share;
  if (high - low <= wide * middle) return middle >= nearly_all ? words.nearly_all : say("about", { text: percentage(middle) });
  if (low < nearly_none) return say("up_to", { high: percentage(high) });
  return high >= nearly_all ? say("at_least", { low: percentage(low) }) : say("between", { low: percentage(low), high: percentage(high) });
}

// The flags at a threshold include those at the next higher one that is known, and are among those at the next lower.
function expectedOf(flagged) {
  if (threshold === chosen.threshold) return chosen.expected;
  if (!flagged) return { precision: words.unknown, recall: words.unknown };
  if (flagged === chosen.samples) return chosen.expected_of_all;
  const unknown = { precision: words.unknown_share, recall: words.unknown_share };
  const below = chosen.known.find((one) => one.samples >= flagged);
  if (!below) return unknown;
  const above = chosen.known.findLast((one) => one.samples <= flagged) ?? { samples: 0, wrong: [0, 0], recall: [0, 0] };
  const fewest = Math.max(above.wrong[0], flagged - (below.samples - below.wrong[0]));
  const most = Math.min(below.wrong[1], flagged - (above.samples - above.wrong[1]));
  return {
    precision: shareRange(fewest / flagged, Math.max(fewest, most) / flagged),
    recall: above.recall && below.recall ? shareRange(above.recall[0], below.recall[1]) : unknown.recall,
  };
}

function measure() {
  const flagged = reaching(columns.suspicion);
  const expected = expectedOf(flagged);
  const measured = { flagged, pairs: pairsOf(flagged), expectedPrecision: expected.precision, expectedRecall: expected.recall };
  if (known) {
    const alarms = reaching(known.suspicion);
    const found = known.totals.map(() => 0);
    for (let place = 0; place < alarms; place += 1) if (known.wrong[place]) found[known.wrong[place] - 1] += 1;
    const hits = sum(found);
    const precision = alarms ? hits / alarms : 0;
    const recall = known.total ? hits / known.total : 0;
    Object.assign(measured, {
      alarms, found, hits, missed: known.total - hits, falseAlarms: alarms - hits, clean: known.samples - known.total - (alarms - hits),
      precision, recall, f1: hits ? 2 * precision * recall / (precision + recall) : 0,
      falseAlarmShare: (alarms - hits) / Math.max(known.samples - known.total, 1),
    });
  }
  return measured;
}

let now = measure();
const texts = {
  threshold: shownThreshold,
  flagged: () => whole(now.flagged),
  flagged_samples: () => several(now.flagged, "samples"),
  expected_precision: () => now.expectedPrecision,
  expected_recall: () => now.expectedRecall,
  true_positive: () => whole(now.hits),
  false_positive: () => whole(now.falseAlarms),
  false_negative: () => whole(now.missed),
  true_negative: () => whole(now.clean),
  precision: () => now.precision.toFixed(3),
  recall: () => now.recall.toFixed(3),
  f1: () => now.f1.toFixed(3),
  precision_share: () => share(now.precision),
  recall_share: () => share(now.recall),
  where: () => inWords(now.pairs),
  correction: () => nearestCorrection().texts.sentence,
};

function showNumbers() {
  for (const node of document.querySelectorAll("[data-live]")) node.textContent = texts[node.dataset.live]();
  for (const cell of document.querySelectorAll("[data-kind]")) {
    cell.textContent = (now.found[cell.dataset.kind] / known.totals[cell.dataset.kind]).toFixed(3);
  }
  const counts = new Uint32Array(chosen.classes);
  for (let place = 0; place < now.flagged; place += 1) counts[columns.label[place]] += 1;
  showCorrection();
  for (const cell of document.querySelectorAll("[data-class-flagged]")) cell.textContent = whole(counts[cell.dataset.classFlagged]);
}

// Heads were trained for some thresholds only: the nearest one's are shown.
function nearestCorrection() {
  const away = (measured) => Math.abs(measured.threshold - threshold);
  return [...page.correction].sort((a, b) => away(a) - away(b))[0];
}

function showCorrection() {
  const nearest = nearestCorrection();
  if (!nearest) return;
  for (const node of document.querySelectorAll("[data-correction]")) node.textContent = nearest.texts[node.dataset.correction] ?? words.unknown;
}

function startThreshold() {
  const bar = document.getElementById("threshold-bar");
  const slider = document.getElementById("threshold-slider");
  const exact = document.getElementById("threshold-exact");
  const moved = document.getElementById("threshold-moved");
  const resets = document.querySelectorAll("[data-reset-threshold]");
  const spoken = () => slider.setAttribute("aria-valuetext", say("spoken_threshold", { threshold: shownThreshold(), flagged: texts.flagged() }));
  let waiting = 0;
  // Numbers follow at once; pictures and plots when the hand rests.
  const move = (value) => {
    threshold = value;
    now = measure();
    showNumbers();
    const away = threshold !== chosen.threshold;
    moved.hidden = !away;
    document.getElementById("threshold-reset").hidden = !away;
    moved.querySelector("code").textContent = `${chosen.again} --threshold ${threshold}`;
    spoken();
    clearTimeout(waiting);
    waiting = setTimeout(follow, 80);
  };
  const follow = () => {
    refilter();
    showCompared();
    showConfused();
    movePlots();
    document.documentElement.dataset.threshold = String(threshold);
  };
  slider.min = exact.min = String(Math.ceil(100 * chosen.floor) / 100);
  const set = (value) => { slider.value = String(value); exact.value = String(Number(value.toPrecision(6))); };
  slider.addEventListener("input", () => { exact.value = slider.value; move(Number(slider.value)); });
  exact.addEventListener("input", () => {
    if (!exact.validity.valid) return;
    slider.value = exact.value;
    move(Number(exact.value));
  });
  for (const reset of resets) {
    reset.addEventListener("click", () => { set(chosen.threshold); move(chosen.threshold); slider.focus({ preventScroll: true }); });
  }
  for (const form of [bar, document.getElementById("threshold-form")]) {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
  }
  set(chosen.threshold);
  spoken();
}
