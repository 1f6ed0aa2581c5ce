// One sample in full.
const sheet = document.getElementById("sheet");
let opened = null;

function openSheet(list, number, opener) {
  opened = { list, number, opener };
  showSheet();
  if (!sheet.open) sheet.showModal();
}

function factsOf(sample) {
  const chance = tellsChance(sample) ? ` (${about(suggestionChance(sample))})` : "";
  return [
    [words.given_label, sample.given], [words.suggested_label, `${named(suggestion(sample))}${chance}`],
    ...(sample.injected ? [[words.label_before, sample.original]] : []),
    [words.suspicion, likelihood(sample.suspicion)], [words.loo_probability, precise(sample.loo_probability)],
    ...(sample.influence === null ? [] : [[words.influence, signed(sample.influence)], [words.self_influence, precise(sample.self_influence)]]),
    [words.split, sample.split], [words.flagged, isFlagged(sample) ? words.yes : words.no],
    ...(sample.injected === null ? [] : [[words.origin, sample.injected ? words.injected : words.your_label]]),
    [words.sample_id, sample.id], ...(sample.path === null ? [] : [[words.file, sample.path]]),
  ];
}

function labelChoice(sample) {
  const select = element("select", { class: "control", "aria-label": words.another_label });
  select.append(element("option", { value: "" }, [words.another_label]));
  chosen.names.forEach((label, place) => {
    if (label !== sample.given) select.append(element("option", { value: String(place) }, [shortened(named(label), page.limits.class_name)]));
  });
  const decision = decisions.get(sample.id);
  if (decision && decision.action === "relabel") select.value = String(chosen.names.indexOf(decision.label));
  select.addEventListener("change", () => { if (select.value !== "") decide(sample, "relabel", chosen.names[Number(select.value)]); });
  return select;
}

function showSheet() {
  const position = opened.list[opened.number], sample = samples[position];
  const explained = galleries.neighbours[position] ?? galleries.explained.find((entry) => entry.target === position);
  const speaks = Boolean(galleries.neighbours[position]);
  const headings = { helpful: speaks ? words.speaks_for : words.help_most, harmful: speaks ? words.speaks_against : words.harm_most };
  const neighbours = explained ? ["helpful", "harmful"].filter((kind) => explained[kind].length).map((kind) => element("div", { class: "neighbours" }, [
    element("h3", {}, [headings[kind]]), neighbourGrid(explained[kind]),
  ])) : [];
  const link = page.app === null ? [] : [element("p", { class: "small neighbours" }, [
    appLink(sample), element("span", { class: "muted" }, [say("app_runs", { address: new URL(appAddress.value).origin })]),
  ])];
  const turn = (step, text, label) => {
    const button = element("button", { class: "copy", type: "button", "aria-label": label }, [text]);
    button.disabled = !(opened.number + step in opened.list);
    button.addEventListener("click", () => move(step));
    return button;
  };
  const close = element("button", { class: "copy", type: "button" }, [words.close]);
  close.addEventListener("click", () => sheet.close());
  sheet.replaceChildren(element("div", { class: "sheet" }, [
    element("header", {}, [
      element("h3", {}, [say("sample_of", { number: whole(opened.number + 1), total: whole(opened.list.length) })]),
      element("span", { class: "turn" }, [turn(-1, "‹", words.previous), turn(1, "›", words.next), close]),
    ]),
    element("div", { class: "pictures" }, [picture(sample), heatMap(sample)]),
    element("div", {}, [
      element("dl", {}, factsOf(sample).flatMap(([term, value]) => [
        element("dt", {}, [term]), element("dd", {}, [element("bdi", {}, [named(value)])]),
      ])),
      element("div", { class: "sheet-decision" }, [decisionButtons(sample), labelChoice(sample)]),
    ]),
    ...link,
    ...nearestGrids(position),
    ...neighbours,
  ]));
}

function move(step) {
  if (!(opened.number + step in opened.list)) return;
  opened.number += step;
  showSheet();
  sheet.querySelector("header button:not(:disabled)").focus();
}

sheet.addEventListener("keydown", (event) => {
  if (event.target.closest("select")) return;
  if (event.key === "ArrowRight") move(1);
  if (event.key === "ArrowLeft") move(-1);
});
sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });
sheet.addEventListener("close", () => opened.opener.focus());
