// The gallery of flagged samples: filters, search, order, a page at a time.
function fill(container, list, more, pageSize, onCount) {
  let shown = 0;
  const grow = () => {
    const next = list.slice(shown, shown + pageSize);
    container.append(...next.map((position) => {
      const item = card(position, list, fullCard(samples[position]));
      item.append(...[decisionButtons(samples[position]), appLink(samples[position])].filter(Boolean));
      return item;
    }));
    shown += next.length;
    more.hidden = shown >= list.length;
    more.textContent = say("show_more", { number: Math.min(pageSize, list.length - shown) });
    onCount(shown);
  };
  container.replaceChildren();
  more.onclick = grow;
  grow();
}

let refilter = () => {};
let showPair = () => {};

function startFlagged() {
  const form = document.getElementById("flagged-filters");
  const container = document.getElementById("flagged-gallery");
  const more = document.getElementById("flagged-more");
  const status = document.getElementById("flagged-count");
  const labelled = { given: (sample) => sample.given, suggested: suggestion };
  const offer = (all) => {
    for (const key of Object.keys(labelled)) {
      const select = form.elements[key];
      const chosenBefore = select.value;
      const counts = new Map();
      for (const position of all) {
        const label = labelled[key](samples[position]);
        counts.set(label, (counts.get(label) ?? 0) + 1);
      }
      if (chosenBefore && !counts.has(chosenBefore.slice(1))) counts.set(chosenBefore.slice(1), 0);
      const options = [...counts].sort((a, b) => b[1] - a[1] || named(a[0]).localeCompare(named(b[0]), "en"));
      select.replaceChildren(element("option", { value: "" }, [words.any]), ...options.map(([label, number]) =>
        element("option", { value: `=${label}` }, [`${shortened(named(label), page.limits.class_name)} (${number})`])));
      select.value = chosenBefore;
    }
  };
  const orders = {
    suspicion: (a, b) => b.suspicion - a.suspicion,
    harmful: (a, b) => a.influence - b.influence,
    self_influence: (a, b) => b.self_influence - a.self_influence,
    suggested: (a, b) => suggestionChance(b) - suggestionChance(a),
    label: (a, b) => a.given.localeCompare(b.given, "en") || b.suspicion - a.suspicion,
  };
  let all = [];
  const apply = () => {
    const wanted = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const { given, suggested, origin, order, decided } = form.elements;
    const list = all.filter((position) => {
      const sample = samples[position];
      const text = `${sample.id} ${sample.path ?? ""} ${sample.given} ${suggestion(sample) ?? ""}`.toLowerCase();
      return (given.value === "" || given.value === `=${sample.given}`)
        && (suggested.value === "" || suggested.value === `=${suggestion(sample)}`)
        && (!origin || origin.value === "" || sample.injected === (origin.value === "injected"))
        && (decided.value === "" || (decided.value === "open") === !decisions.has(sample.id))
        && wanted.every((word) => text.includes(word));
    }).sort((a, b) => orders[order.value](samples[a], samples[b]));
    const without = galleries.thumbnails.length ? list.filter((position) => samples[position].thumbnail === null).length : 0;
    fill(container, list, more, page.limits.cards_a_page, (shown) => {
      const scope = list.length === all.length ? several(list.length, "flagged") : say("matching", { number: whole(list.length), all: several(all.length, "flagged") });
      const parts = [list.length ? say("showing", { shown: whole(shown), number: whole(list.length), scope }) : words.no_match];
      if (!now.flagged) parts[0] = say("none_reaches", { threshold: shownThreshold() });
      if (without) parts.push(several(without, "without_picture"));
      if (all.length < now.flagged) parts.push(several(now.flagged - all.length, "more_flagged"));
      status.textContent = parts.join(" ");
    });
  };
  refilter = () => {
    all = galleries.suspects.filter((position) => isFlagged(samples[position]));
    offer(all);
    apply();
  };
  showPair = (pair) => {
    form.reset();
    for (const [key, label] of [["given", pair.given], ["suggested", pair.other]]) form.elements[key].value = `=${label}`;
    apply();
    form.scrollIntoView();
    form.elements.given.focus({ preventScroll: true });
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("flagged-reset").addEventListener("click", () => { form.reset(); apply(); });
  form.hidden = false;
  refilter();
}

function showConfused() {
  const list = document.getElementById("confused-pairs");
  document.getElementById("confused-empty").hidden = now.flagged > 0;
  document.getElementById("confused-panel").hidden = now.pairs.length === 0;
  document.getElementById("confused-plot").hidden = now.flagged === 0;
  list.replaceChildren(...now.pairs.slice(0, page.limits.pairs_listed).map((pair) => {
    const button = element("button", { type: "button" }, [
      name(pair.given, "given"), " → ", name(pair.other, "suggested"), element("span", { class: "muted number" }, [` ${whole(pair.number)}`]),
    ]);
    button.addEventListener("click", () => showPair(pair));
    return element("li", {}, [button]);
  }));
}
