// A sample as a card: its picture, the suggestion, and the training pictures beside it.
function picture(sample) {
  if (galleries.thumbnails.length === 0 || sample.thumbnail === null) {
    return element("span", { class: "picture none" }, [element("bdi", {}, [sample.path ? sample.path.split("/").at(-1) : sample.id])]);
  }
  const image = element("img", {
    src: `data:image/webp;base64,${galleries.thumbnails[sample.thumbnail]}`,
    alt: say("picture_of", { label: named(sample.given) }), decoding: "async", width: 96, height: 96,
  });
  return element("span", { class: "picture" }, [image]);
}

function heatMap(sample) {
  if (sample.heat_map === null) return null;
  const image = element("img", {
    src: `data:image/webp;base64,${galleries.thumbnails[sample.heat_map]}`,
    alt: words.heat_map_of, decoding: "async", width: 160, height: 160,
  });
  return element("figure", { class: "heat" }, [
    element("span", { class: "picture" }, [image]), element("figcaption", {}, [words.heat_map_meaning]),
  ]);
}

const isFlagged = (sample) => sample.suspicion >= threshold;
// Whoever looks at a flag wants to know what else the sample may be, even where its label is the likeliest.
const suggestion = (sample) => (isFlagged(sample) ? sample.other : sample.suggested);
const suggestionChance = (sample) => (isFlagged(sample) ? sample.other_probability : sample.suggested_probability);
// A chance that is nearly one on every card says nothing.
const tellsChance = (sample) => chosen.told && suggestionChance(sample) !== null && suggestionChance(sample) < page.limits.nearly_all;

const change = (sample) => element("span", { class: "labels" }, [
  element("span", { class: "was" }, [`${words.labelled} `, name(sample.given, "given")]),
  suggestion(sample) === sample.given || suggestion(sample) === null
    ? element("span", { class: "suggested" }, [words.looks_right])
    : element("span", { class: "suggested" }, [name(suggestion(sample), "")]),
  ...(tellsChance(sample) ? [element("span", { class: "chance" }, [about(suggestionChance(sample))])] : []),
]);

const badge = (sample) => (sample.injected ? element("span", { class: "chip injected" }, [words.injected]) : null);
const fact = (term, value) => element("span", { class: "facts" }, [element("span", {}, [term]), element("span", {}, [value])]);

function fullCard(sample) {
  const bar = element("span");
  bar.style.width = `${100 * (sample.suspicion ?? 0)}%`;
  return [picture(sample), element("span", { class: "text" }, [
    change(sample),
    element("span", { class: "meter", title: say("suspicion_of", { value: precise(sample.suspicion) }) }, [element("span", { class: "track" }, [bar])]),
    nearestOf(sample) ?? closest(sample),
    badge(sample),
    sample.heat_map === null ? null : element("span", { class: "chip own" }, [words.heat_map]),
  ])];
}

// The pictures most like it: of the given class, and of the class that it is suggested to be.
function nearestOf(sample) {
  const found = galleries.nearest[samples.indexOf(sample)];
  if (!found || galleries.thumbnails.length === 0) return null;
  const side = (positions, label, kind) => {
    const shown = positions.map((position) => samples[position]).filter((each) => each.thumbnail !== null).slice(0, 2);
    if (!shown.length) return null;
    return element("span", { class: "side" }, [...shown.map(besidePicture), name(label, kind)]);
  };
  const sides = [side(found.given, sample.given, "given"), side(found.other, sample.other, "suggested")];
  if (sides.every((each) => each === null)) return null;
  return element("span", { class: "closest nearest" }, [element("span", { class: "title" }, [words.most_alike]), ...sides]);
}

// A picture beside another one is framed where its own label is suspect.
function besidePicture(sample) {
  const node = picture(sample);
  if (!isFlagged(sample)) return node;
  node.classList.add("suspect");
  node.title = say("suspect_too", { label: named(sample.given) });
  if (node.firstElementChild.tagName === "IMG") node.firstElementChild.alt = node.title;
  return node;
}

// Training pictures that speak most against the label and for it: first those of the suggested and of the given class.
function closest(sample) {
  const entry = galleries.neighbours[samples.indexOf(sample)];
  if (!entry || galleries.thumbnails.length === 0) return null;
  const side = (kind, title) => {
    const wanted = kind === "harmful" ? suggestion(sample) : sample.given;
    const shown = entry[kind].map(([position]) => samples[position]).filter((each) => each.thumbnail !== null)
      .sort((a, b) => (b.given === wanted) - (a.given === wanted)).slice(0, 2);
    const labels = [...new Set(shown.map((each) => named(each.given)))];
    return element("span", { class: "side" }, [
      element("span", {}, [title]), ...shown.map(picture), element("bdi", { title: labels.join(", ") }, [labels.join(", ")]),
    ]);
  };
  return element("span", { class: "closest" }, [side("harmful", words.against), side("helpful", words.for)]);
}

function compactCard(sample, influence) {
  return [picture(sample), element("span", { class: "text" }, [
    element("span", { class: "labels" }, [name(sample.given, "given")]),
    element("span", { class: "facts" }, [
      ...(influence === undefined ? [] : [element("span", {}, [signed(influence)])]),
      element("span", {}, [isFlagged(sample) ? words.flagged : ""]),
    ]),
  ])];
}

function card(position, list, content) {
  const button = element("button", { class: "card", type: "button" }, content);
  button.dataset.sample = samples[position].id;
  button.addEventListener("click", () => openSheet(list, list.indexOf(position), button));
  return element("li", {}, [button]);
}
