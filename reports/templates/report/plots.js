// The plots are in the page as Python drew them, for the audit's threshold; these put them where the page's threshold is.
const areaOf = (figure) => document.querySelector(`[data-figure="${figure}"] .area`);
const numbersOf = (area) => Object.fromEntries(["low", "high", "top", "tall"].map((key) => [key, Number(area.dataset[key])]));
const across = (area, value) => { const { low, high } = numbersOf(area); return 100 * (value - low) / (high - low); };
const thresholdText = () => say("threshold", { threshold: shownThreshold() });
const untouched = new Map();

function beside(text, part) {
  text.setAttribute("dx", part > 50 ? -8 : 8);
  text.setAttribute("text-anchor", part > 50 ? "end" : "start");
  text.textContent = thresholdText();
}

const moving = {
  suspicion_histogram(area) {
    const x = across(area, threshold);
    const line = area.querySelector(".threshold-line"), text = area.querySelector(".threshold-text");
    for (const [node, key] of [[line, "x1"], [line, "x2"], [text, "x"]]) node.setAttribute(key, `${x}%`);
    beside(text, x);
  },
  precision_recall: (area) => moveMark(area, now.recall, now.precision),
  roc: (area) => moveMark(area, now.falseAlarmShare, now.recall),
  given_by_suggested: fillMatrix,
  influence_by_class: moveBoxes,
};

function moveMark(area, x, y) {
  const { top, tall } = numbersOf(area), [low, high] = page.limits.unit_axis;
  const place = across(area, x), down = top + (1 - (y - low) / (high - low)) * tall;
  const point = area.querySelector(".point"), text = area.querySelector(".threshold-text");
  point.setAttribute("cx", `${place}%`);
  point.setAttribute("cy", down);
  point.querySelector("title").textContent = `${thresholdText()}, ${x.toFixed(3)}, ${y.toFixed(3)}`;
  text.setAttribute("x", `${place}%`);
  text.setAttribute("y", down - 14 < top + 12 ? down + 22 : down - 14);
  beside(text, place);
  area.dataset.mark = JSON.stringify([x, y]);
}

function fillMatrix(area) {
  const { top, tall } = numbersOf(area), size = chosen.matrix.length, wide = 100 / size, high = tall / size;
  const places = new Map(chosen.matrix.map((position, place) => [position, place]));
  const counts = new Map();
  for (let sample = 0; sample < now.flagged; sample += 1) {
    const row = places.get(columns.label[sample]), column = places.get(columns.other[sample]);
    if (row !== undefined && column !== undefined && row !== column) counts.set(row * size + column, (counts.get(row * size + column) ?? 0) + 1);
  }
  const largest = Math.max(1, ...counts.values());
  const cells = [], numbers = [];
  for (const [key, number] of counts) {
    const row = Math.floor(key / size), column = key % size;
    const title = say("matrix_cell", { given: named(chosen.names[chosen.matrix[row]]), other: named(chosen.names[chosen.matrix[column]]), number: whole(number) });
    cells.push(drawn("rect", {
      class: "corrupted", "fill-opacity": Math.sqrt(number / largest).toFixed(2), x: `${column * wide}%`, width: `${wide}%`, y: top + row * high, height: high - 1,
    }, [drawn("title", {}, [title])]));
    numbers.push(drawn("text", { x: `${(column + 0.5) * wide}%`, y: top + (row + 0.5) * high + 4, "text-anchor": "middle" }, [String(number)]));
  }
  area.querySelector(".cells").replaceChildren(...cells);
  area.querySelector(".cell-numbers").replaceChildren(...numbers);
}

function quantile(sorted, part) {
  const place = part * (sorted.length - 1), below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

// Flagged samples beside the others; corrupted and clean samples do not depend on the threshold.
function moveBoxes(area) {
  if (columns.wrong) return;
  const places = new Map(chosen.boxes.map((position, place) => [position, place]));
  const rows = chosen.boxes.length + 1, { top, tall } = numbersOf(area);
  const values = [0, 1].map(() => Array.from({ length: rows }, () => []));
  for (let sample = 0; sample < columns.label.length; sample += 1) {
    const influence = columns.influence[sample];
    if (Number.isNaN(influence)) continue;
    const group = values[sample < now.flagged ? 1 : 0];
    if (places.has(columns.label[sample])) group[places.get(columns.label[sample])].push(influence);
    group.at(-1).push(influence);
  }
  area.querySelectorAll(".boxes").forEach((group, number) => {
    const half = Number(group.dataset.half);
    group.replaceChildren(...values[number].flatMap((found, place) => {
      if (!found.length) return [];
      const sorted = Float32Array.from(found).sort();
      const at = page.limits.box.map((part) => quantile(sorted, part));
      return [box(area, at, top + tall * (place + 0.5 + (number === 0 ? -0.19 : 0.19)) / rows, half)];
    }));
  });
}

function box(area, values, middle, half) {
  const [low, q1, median, q3, high] = values.map((value) => across(area, value));
  const text = say("box", { median: precise(values[2]), low: precise(values[1]), high: precise(values[3]) });
  const node = drawn("g", {}, [
    drawn("title", {}, [text]),
    drawn("line", { x1: `${low}%`, x2: `${high}%`, y1: middle, y2: middle }),
    drawn("rect", { x: `${q1}%`, width: `${q3 - q1}%`, y: middle - half, height: 2 * half }),
    drawn("line", { x1: `${median}%`, x2: `${median}%`, y1: middle - half, y2: middle + half }),
  ]);
  node.dataset.values = JSON.stringify(values);
  return node;
}

// At the audit's threshold, the page shows again what Python drew.
function movePlots() {
  for (const [figure, move] of Object.entries(moving)) {
    const area = areaOf(figure);
    if (!area) continue;
    if (!untouched.has(figure)) untouched.set(figure, [...area.childNodes].map((node) => node.cloneNode(true)));
    if (threshold === chosen.threshold) area.replaceChildren(...untouched.get(figure).map((node) => node.cloneNode(true)));
    else move(area);
  }
}
