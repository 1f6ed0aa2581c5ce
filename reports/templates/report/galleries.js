// The galleries in the fold: injected and missed, flagged but not injected, each class, and explained predictions.
function showCompared() {
  const kinds = { missed: [(sample) => sample.injected && !isFlagged(sample), now.missed],
    unexpected: [(sample) => !sample.injected && isFlagged(sample), now.falseAlarms] };
  for (const [key, [wanted, total]] of Object.entries(kinds)) {
    const container = document.getElementById(`${key}-gallery`);
    if (!container) continue;
    const list = galleries.suspects.filter((position) => wanted(samples[position]));
    fill(container, list, document.getElementById(`${key}-more`), page.limits.compared_a_page, () => {});
    const shown = document.getElementById(`${key}-shown`);
    shown.textContent = !total ? words.none : list.length < total ? say("in_this_report", { number: whole(list.length) }) : "";
  }
}

function startClasses() {
  const select = document.getElementById("class-choice");
  if (!select) return;
  galleries.classes.forEach((entry, number) => {
    select.append(element("option", { value: String(number) }, [shortened(named(entry.label), page.limits.class_name)]));
  });
  const show = () => {
    const entry = galleries.classes[Number(select.value)];
    for (const kind of ["harmful", "helpful"]) {
      document.getElementById(`class-${kind}`).replaceChildren(
        ...entry[kind].map((position) => card(position, entry[kind], compactCard(samples[position], samples[position].influence))));
      document.getElementById(`class-${kind}-empty`).hidden = entry[kind].length > 0;
    }
  };
  select.addEventListener("input", show);
  show();
}

function neighbourGrid(pairs) {
  const list = pairs.map(([position]) => position);
  return element("ul", { class: "grid compact" },
    pairs.map(([position, influence]) => card(position, list, compactCard(samples[position], influence))));
}

function nearestGrids(position) {
  const found = galleries.nearest[position];
  if (!found) return [];
  const { given, other } = samples[position];
  return [[found.given, given], [found.other, other]].filter(([positions]) => positions.length).map(([positions, label]) => element("div", { class: "neighbours" }, [
    element("h3", {}, [say("nearest_of", { label: named(label) })]), neighbourGrid(positions.map((each) => [each])),
  ]));
}

function startExplained() {
  const container = document.getElementById("explained-list");
  if (!container) return;
  const more = document.getElementById("explained-more");
  const heading = (entry) => [`${words.predicted} `, name(entry.predicted, "given"),
    ...(entry.predicted !== entry.label ? [`, ${words.believed} `, name(entry.label, "suggested")] : [`, ${words.rightly}`])];
  const show = (entries) => container.append(...entries.map((entry) => element("div", { class: "explained" }, [
    element("div", {}, [
      element("h4", {}, heading(entry)),
      element("ul", { class: "grid" }, [card(entry.target, [entry.target], fullCard(samples[entry.target]))]),
    ]),
    element("div", {}, [
      element("h4", {}, [words.harm_most]), neighbourGrid(entry.harmful),
      element("h4", {}, [words.help_most]), neighbourGrid(entry.helpful),
    ]),
  ])));
  show(galleries.explained.slice(0, page.limits.explained_at_first));
  const rest = galleries.explained.slice(page.limits.explained_at_first);
  more.hidden = rest.length === 0;
  more.textContent = say("show_more", { number: rest.length });
  more.addEventListener("click", () => { show(rest); more.hidden = true; });
}
