"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const { galleries, figures, threshold: chosen } = page;
  const samples = galleries.samples;
  const FLAGGED_A_PAGE = 24;
  const COMPARED_A_PAGE = 12;
  const PAIRS_LISTED = 10;
  const EXPLAINED_AT_FIRST = 3;
  const MINUS = "\u2212";

  // plotly sets style attributes, which the page's policy forbids; set through the object model they are allowed.
  const setAttribute = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (String(name).toLowerCase() === "style") { this.style.cssText = value; } else { setAttribute.call(this, name, value); }
  };

  // These are the model's probabilities: none is shown as certain.
  const percent = (value) => {
    if (value === null) return "–";
    if (value >= 0.995) return "> 99%";
    return `${(100 * value).toFixed(0)}%`;
  };
  const likelihood = (value) => {
    if (value === null) return "–";
    if (value >= 0.995) return "> 0.99";
    return value.toFixed(2);
  };
  const about = (value) => (percent(value).startsWith(">") ? percent(value) : `≈\u00a0${percent(value)}`);
  const whole = (value) => value.toLocaleString("en-US");
  const precise = (value) => {
    if (value === null) return "–";
    const text = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : value.toPrecision(3);
    return text.replaceAll("-", MINUS);
  };
  const signed = (value) => (value !== null && value > 0 ? `+${precise(value)}` : precise(value));
  const named = (label) => (label === null || label.trim() === "" ? "(empty)" : label);

  function element(tag, properties = {}, children = []) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "class") node.className = value;
      else if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  function picture(sample) {
    if (galleries.thumbnails.length === 0) return null;
    if (sample.thumbnail === null) return element("span", { class: "picture none" }, ["no picture in this report"]);
    const image = element("img", {
      src: `data:image/webp;base64,${galleries.thumbnails[sample.thumbnail]}`,
      alt: `sample labelled ${named(sample.given)}`, decoding: "async", width: 96, height: 96,
    });
    return element("span", { class: "picture" }, [image]);
  }

  function heatMap(sample) {
    if (sample.heat_map === null) return null;
    const image = element("img", {
      src: `data:image/webp;base64,${galleries.thumbnails[sample.heat_map]}`,
      alt: "the sample with its heat map", decoding: "async", width: 160, height: 160,
    });
    return element("figure", { class: "heat" }, [
      element("span", { class: "picture" }, [image]),
      element("figcaption", {}, ["Red: pixels that move the validation loss most, through this sample's influence"]),
    ]);
  }

  const name = (label, kind) => element("bdi", { class: kind, title: named(label) }, [named(label)]);
  // Whoever looks at a flag wants to know what else the sample may be, even where its label is the likeliest.
  const suggestion = (sample) => (isFlagged(sample) ? sample.other : sample.suggested);
  const suggestionChance = (sample) => (isFlagged(sample) ? sample.other_probability : sample.suggested_probability);
  const change = (sample) => element("span", { class: "labels" }, [
    name(sample.given, "given"),
    ...(suggestion(sample) === sample.given ? [" looks right "] : [" → ", name(suggestion(sample), "suggested"), " "]),
    ...(chosen.told ? [element("span", { class: "chance" }, [about(suggestionChance(sample))])] : []),
  ]);
  const badge = (sample) => (sample.injected === null ? null
    : element("span", { class: `chip ${sample.injected ? "injected" : "own"}` }, [sample.injected ? "injected mislabel" : "your label"]));

  const fact = (term, value) => element("span", { class: "facts" }, [element("span", {}, [term]), element("span", {}, [value])]);

  function fullCard(sample) {
    const bar = element("span");
    bar.style.width = `${100 * (sample.suspicion ?? 0)}%`;
    return [picture(sample), element("span", { class: "text" }, [
      change(sample),
      element("span", { class: "meter" }, [
        element("span", { class: "track" }, [bar]),
        element("span", { class: "number" }, [`suspicion ${likelihood(sample.suspicion)}`]),
      ]),
      sample.influence === null ? null : fact("influence", signed(sample.influence)),
      closest(sample),
      badge(sample),
      sample.heat_map === null ? null : element("span", { class: "chip own" }, ["heat map"]),
    ])];
  }

  // The training images that speak most against and for the label of a flagged sample.
  function closest(sample) {
    const entry = galleries.neighbours[samples.indexOf(sample)];
    if (!entry || galleries.thumbnails.length === 0) return null;
    const side = (kind, title) => element("span", { class: "side" }, [
      element("span", {}, [title]),
      ...entry[kind].slice(0, 2).map(([position]) => picture(samples[position])),
    ]);
    return element("span", { class: "closest" }, [side("harmful", "against"), side("helpful", "for")]);
  }

  function compactCard(sample, influence) {
    return [picture(sample), element("span", { class: "text" }, [
      element("span", { class: "labels" }, [name(sample.given, "given")]),
      element("span", { class: "facts" }, [element("span", {}, [signed(influence)]), element("span", {}, [isFlagged(sample) ? "flagged" : ""])]),
    ])];
  }

  function card(position, list, content) {
    const button = element("button", { class: "card", type: "button" }, content);
    button.dataset.sample = samples[position].id;
    button.addEventListener("click", () => openSheet(list, list.indexOf(position), button));
    return element("li", {}, [button]);
  }

  // -- the App, which may be served at another port than the usual
  const appAddress = document.getElementById("app-address");
  const inApp = (sample) => `${new URL(appAddress.value).origin}${page.app}?id=${encodeURIComponent(sample.id)}`;

  function appLink(sample) {
    if (page.app === null) return null;
    const link = element("a", { class: "in-app", href: inApp(sample), target: "_blank", rel: "noopener noreferrer" }, ["Open in App"]);
    link.setAttribute("aria-label", `Open in App: sample ${sample.id}`);
    link.dataset.app = sample.id;
    return link;
  }

  function startApp() {
    if (appAddress === null) return;
    const usual = appAddress.value;
    const valid = () => appAddress.validity.valid && /^https?:/i.test(appAddress.value);
    try { appAddress.value = localStorage.getItem("influence-audit-app") ?? usual; } catch (error) { /* the usual, then */ }
    if (!valid()) appAddress.value = usual;
    appAddress.addEventListener("input", () => {
      if (!valid()) return;
      try { localStorage.setItem("influence-audit-app", appAddress.value); } catch (error) { /* it lasts for this page */ }
      for (const link of document.querySelectorAll("[data-app]")) link.href = inApp({ id: link.dataset.app });
    });
    appAddress.addEventListener("change", () => { if (!valid()) appAddress.value = usual; });
    appAddress.form.addEventListener("submit", (event) => event.preventDefault());
    appAddress.form.hidden = false;
  }

  // -- the threshold: samples come most suspicious first, so a threshold is a number of samples from the top
  const KINDS = { suspicion: Float64Array, label: Uint32Array, other: Uint32Array, influence: Float32Array, wrong: Uint8Array };

  function unpack(columns) {
    const unpacked = {};
    for (const [name, text] of Object.entries(columns)) {
      const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
      unpacked[name] = new KINDS[name](bytes.buffer);
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

  // The texts are those of reports/verdict.py and reports/wrong_labels_by_class.py, so that nothing jumps when the threshold is left where it is.
  const share = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)}%`);
  const several = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
  const shownThreshold = () => {
    const decimals = [2, 3, 4, 5].find((n) => { const rounded = Number(threshold.toFixed(n)); return rounded > 0 && rounded < 1; });
    return threshold.toFixed(decimals ?? 2);
  };

  const isolated = (label) => {
    const name = [...(label.trim() === "" ? "(empty)" : label.trim())];
    return `\u2068${name.length <= 40 ? name.join("") : `${name.slice(0, 39).join("")}…`}\u2069`;
  };

  function inWords(pairs) {
    const first = pairs.slice(0, 3);
    if (!now.flagged) return "";
    if (sum(first.map((pair) => pair.number)) < 0.1 * now.flagged) return "No pair of classes stands out among the flags.";
    const listed = first.map((pair) => `${isolated(pair.given)} → ${isolated(pair.other)} (${whole(pair.number)})`);
    const text = listed.length > 1 ? `${listed.slice(0, -1).join(", ")} and ${listed.at(-1)}` : listed[0];
    return first.length === pairs.length ? `Most flags are ${text}.` : `The most frequent flags are ${text}.`;
  }

  // As share_range in reports/ranges.py, for what is known as a range only.
  const percentage = (value) => `${(100 * value).toFixed(value >= 0.0995 ? 0 : 1).replace(/\.0$/, "")}%`;
  function shareRange(low, high) {
    const middle = (low + high) / 2, none = low < 0.0005, everything = high >= 0.995;
    if (high < 0.0005) return "0%";
    if (everything && low < 0.01) return "any share";
    if (high - low <= 0.25 * middle) return middle >= 0.995 ? "> 99%" : `≈\u00a0${percentage(middle)}`;
    if (none) return `up to ${percentage(high)}`;
    return everything ? `at least ${percentage(low)}` : `${percentage(low)} to ${percentage(high)}`;
  }

  // The flags at a threshold include those at the next higher one that is known, and are among those at the next lower.
  function expectedOf(flagged) {
    if (threshold === chosen.threshold) return chosen.expected;
    const unknown = { precision: "an unknown share", recall: "an unknown share" };
    const below = chosen.known.find((one) => one.samples >= flagged);
    if (!flagged || !below) return unknown;
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
    const now = { flagged, pairs: pairsOf(flagged), expectedPrecision: expected.precision, expectedRecall: expected.recall };
    if (known) {
      const alarms = reaching(known.suspicion);
      const found = known.totals.map(() => 0);
      for (let place = 0; place < alarms; place += 1) if (known.wrong[place]) found[known.wrong[place] - 1] += 1;
      const hits = sum(found);
      const precision = alarms ? hits / alarms : 0;
      const recall = known.total ? hits / known.total : 0;
      Object.assign(now, {
        alarms, found, hits, missed: known.total - hits, falseAlarms: alarms - hits, clean: known.samples - known.total - (alarms - hits),
        precision, recall, f1: hits ? 2 * precision * recall / (precision + recall) : 0,
        falseAlarmShare: (alarms - hits) / Math.max(known.samples - known.total, 1),
      });
    }
    return now;
  }

  let now = measure();
  const isFlagged = (sample) => sample.suspicion >= threshold;
  const texts = {
    threshold: shownThreshold,
    flagged: () => whole(now.flagged),
    flagged_samples: () => several(now.flagged, "sample"),
    flags: () => several(now.alarms, "flag"),
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
    for (const node of document.querySelectorAll("[data-correction]")) node.textContent = nearest.texts[node.dataset.correction] ?? "–";
  }

  function startThreshold() {
    const bar = document.getElementById("threshold-bar");
    const slider = document.getElementById("threshold-slider");
    const exact = document.getElementById("threshold-exact");
    const moved = document.getElementById("threshold-moved");
    const resets = document.querySelectorAll("[data-reset-threshold]");
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
      slider.setAttribute("aria-valuetext", `${shownThreshold()}, ${texts.flagged()} flagged`);
      clearTimeout(waiting);
      waiting = setTimeout(follow, 80);
    };
    const follow = () => {
      refilter();
      showCompared();
      showConfused();
      redraw(MOVING);
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
    slider.setAttribute("aria-valuetext", `${shownThreshold()}, ${texts.flagged()} flagged`);
  }

  // -- a gallery of full cards, a page at a time
  function fill(container, list, more, pageSize, onCount) {
    let shown = 0;
    const grow = () => {
      const next = list.slice(shown, shown + pageSize);
      container.append(...next.map((position) => {
        const item = card(position, list, fullCard(samples[position]));
        item.append(...[appLink(samples[position])].filter(Boolean));
        return item;
      }));
      shown += next.length;
      more.hidden = shown >= list.length;
      more.textContent = `Show ${Math.min(pageSize, list.length - shown)} more`;
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
        const kept = select.value;
        const counts = new Map();
        for (const position of all) {
          const label = labelled[key](samples[position]);
          counts.set(label, (counts.get(label) ?? 0) + 1);
        }
        if (kept && !counts.has(kept.slice(1))) counts.set(kept.slice(1), 0);
        const options = [...counts].sort((a, b) => b[1] - a[1] || named(a[0]).localeCompare(named(b[0]), "en"));
        select.replaceChildren(element("option", { value: "" }, ["any"]), ...options.map(([label, number]) => {
          const shownName = named(label).length > 40 ? `${named(label).slice(0, 39)}…` : named(label);
          return element("option", { value: `=${label}` }, [`${shownName} (${number})`]);
        }));
        select.value = kept;
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
      const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const { given, suggested, origin, order } = form.elements;
      const list = all.filter((position) => {
        const sample = samples[position];
        const text = `${sample.id} ${sample.path ?? ""} ${sample.given} ${suggestion(sample) ?? ""}`.toLowerCase();
        return (given.value === "" || given.value === `=${sample.given}`)
          && (suggested.value === "" || suggested.value === `=${suggestion(sample)}`)
          && (!origin || origin.value === "" || sample.injected === (origin.value === "injected"))
          && words.every((word) => text.includes(word));
      }).sort((a, b) => orders[order.value](samples[a], samples[b]));
      const without = galleries.thumbnails.length ? list.filter((position) => samples[position].thumbnail === null).length : 0;
      fill(container, list, more, FLAGGED_A_PAGE, (shown) => {
        const scope = list.length === all.length ? "flagged samples" : `matching of ${whole(all.length)} flagged samples`;
        const parts = [list.length ? `Showing ${whole(shown)} of ${whole(list.length)} ${scope}.` : "No flagged sample matches."];
        if (!now.flagged) parts[0] = `No sample reaches the threshold of ${shownThreshold()}.`;
        if (without) parts.push(`${whole(without)} of them ${without === 1 ? "has" : "have"} no picture in this report.`);
        if (all.length < now.flagged) parts.push(`${whole(now.flagged - all.length)} more are flagged at this threshold and are not shown here; scores.parquet holds all.`);
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

  function showCompared() {
    const kinds = { missed: [(sample) => sample.injected && !isFlagged(sample), now.missed],
      unexpected: [(sample) => !sample.injected && isFlagged(sample), now.falseAlarms] };
    for (const [key, [wanted, total]] of Object.entries(kinds)) {
      const container = document.getElementById(`${key}-gallery`);
      if (!container) continue;
      const list = galleries.suspects.filter((position) => wanted(samples[position]));
      fill(container, list, document.getElementById(`${key}-more`), COMPARED_A_PAGE, () => {});
      const shown = document.getElementById(`${key}-shown`);
      if (!total) shown.textContent = "There is none.";
      else shown.textContent = list.length < total ? `${whole(list.length)} of them are in this report.` : "";
    }
  }

  function showConfused() {
    document.getElementById("confused-empty").hidden = now.flagged > 0;
    document.getElementById("confused-panel").hidden = now.pairs.length === 0;
    document.getElementById("confused-pairs").replaceChildren(...now.pairs.slice(0, PAIRS_LISTED).map((pair) => {
      const button = element("button", { type: "button" }, [
        name(pair.given, "given"), " → ", name(pair.other, "suggested"), element("span", { class: "muted number" }, [` ${whole(pair.number)}`]),
      ]);
      button.addEventListener("click", () => showPair(pair));
      return element("li", {}, [button]);
    }));
  }

  function startClasses() {
    const select = document.getElementById("class-choice");
    if (!select) return;
    galleries.classes.forEach((entry, number) => {
      const shownName = named(entry.label).length > 60 ? `${named(entry.label).slice(0, 59)}…` : named(entry.label);
      select.append(element("option", { value: String(number) }, [shownName]));
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

  function startExplained() {
    const container = document.getElementById("explained-list");
    if (!container) return;
    const more = document.getElementById("explained-more");
    const show = (entries) => container.append(...entries.map((entry) => {
      const wrong = entry.predicted !== entry.label;
      return element("div", { class: "explained" }, [
        element("div", {}, [
          element("h4", {}, wrong ? ["predicted ", name(entry.predicted, "given"), ", believed to be ", name(entry.label, "suggested")]
            : ["predicted ", name(entry.predicted, "given"), ", rightly but not surely"]),
          element("ul", { class: "grid" }, [card(entry.target, [entry.target], fullCard(samples[entry.target]))]),
        ]),
        element("div", {}, [
          element("h4", {}, ["Training images that harm it most"]), neighbourGrid(entry.harmful),
          element("h4", {}, ["Training images that help it most"]), neighbourGrid(entry.helpful),
        ]),
      ]);
    }));
    show(galleries.explained.slice(0, EXPLAINED_AT_FIRST));
    const rest = galleries.explained.slice(EXPLAINED_AT_FIRST);
    more.hidden = rest.length === 0;
    more.textContent = `Show ${rest.length} more`;
    more.addEventListener("click", () => { show(rest); more.hidden = true; });
  }

  // -- one sample in full
  const sheet = document.getElementById("sheet");
  let opened = null;

  function openSheet(list, number, opener) {
    opened = { list, number, opener };
    showSheet();
    if (!sheet.open) sheet.showModal();
  }

  function showSheet() {
    const sample = samples[opened.list[opened.number]];
    const facts = [
      ["given label", sample.given], ["suggested label", `${named(suggestion(sample))}${chosen.told ? ` (${about(suggestionChance(sample))} by the model)` : ""}`],
      ...(sample.injected ? [["label before injection", sample.original]] : []),
      ["suspicion", likelihood(sample.suspicion)], ["leave-one-out probability", precise(sample.loo_probability)],
      ...(sample.influence === null ? [] : [["influence", `${signed(sample.influence)} nats`], ["self-influence", `${precise(sample.self_influence)} nats`]]),
      ["split", sample.split], ["flagged", isFlagged(sample) ? "yes" : "no"],
      ...(sample.injected === null ? [] : [["origin", sample.injected ? "injected mislabel" : "your label"]]),
      ["sample id", sample.id], ...(sample.path === null ? [] : [["file", sample.path]]),
    ];
    const position = opened.list[opened.number];
    const explained = galleries.neighbours[position] ?? galleries.explained.find((entry) => entry.target === position);
    const headings = galleries.neighbours[position]
      ? { helpful: "Training images that speak for its label", harmful: "Training images that speak against its label" }
      : { helpful: "Training images that help it most", harmful: "Training images that harm it most" };
    const neighbours = explained ? ["helpful", "harmful"].filter((kind) => explained[kind].length).map((kind) => element("div", { class: "neighbours" }, [
      element("h3", {}, [headings[kind]]), neighbourGrid(explained[kind]),
    ])) : [];
    const link = page.app === null ? [] : [element("p", { class: "small neighbours" }, [
      appLink(sample), element("span", { class: "muted" }, [` (while influence-audit app runs, at ${new URL(appAddress.value).origin})`]),
    ])];
    const turn = (step, text, label) => {
      const button = element("button", { class: "copy", type: "button", "aria-label": label }, [text]);
      button.disabled = !(opened.number + step in opened.list);
      button.addEventListener("click", () => move(step));
      return button;
    };
    const close = element("button", { class: "copy", type: "button" }, ["Close"]);
    close.addEventListener("click", () => sheet.close());
    sheet.replaceChildren(element("div", { class: "sheet" }, [
      element("header", {}, [
        element("h3", {}, [`Sample ${whole(opened.number + 1)} of ${whole(opened.list.length)}`]),
        element("span", { class: "turn" }, [turn(-1, "‹", "previous sample"), turn(1, "›", "next sample"), close]),
      ]),
      element("div", { class: "pictures" }, [picture(sample), heatMap(sample)]),
      element("dl", {}, facts.flatMap(([term, value]) => [
        element("dt", {}, [term]), element("dd", {}, [element("bdi", {}, [named(value)])]),
      ])),
      ...link,
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
    if (event.key === "ArrowRight") move(1);
    if (event.key === "ArrowLeft") move(-1);
  });
  sheet.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });
  sheet.addEventListener("close", () => opened.opener.focus());

  // -- plots: drawn when they come near the screen, drawn again when the theme changes
  const plots = [...document.querySelectorAll("[data-figure]")];
  const printing = matchMedia("print");
  const theme = () => (printing.matches ? "print" : document.documentElement.dataset.theme);
  const PRINTED_WIDTH = 620;  // what A4 and Letter hold; a plot does not shrink with its page

  const MOVING = ["precision_recall", "roc", "suspicion_histogram", "given_by_suggested", "influence_by_class"];

  // The figures are made for the audit's threshold; these put them where the page's threshold is.
  const adjust = {
    suspicion_histogram({ layout }) {
      layout.shapes[0].x0 = layout.shapes[0].x1 = threshold;
      Object.assign(layout.annotations[0], { x: threshold, text: `threshold ${shownThreshold()}`, xanchor: threshold > 0.5 ? "right" : "left" });
    },
    precision_recall: (figure) => moveMark(figure, now.recall, now.precision),
    roc: (figure) => moveMark(figure, now.falseAlarmShare, now.recall),
    given_by_suggested({ data: [matrix] }) {
      const places = new Map(chosen.matrix.map((position, place) => [position, place]));
      const size = chosen.matrix.length;
      const counts = Array.from({ length: size }, () => new Array(size).fill(0));
      for (let sample = 0; sample < now.flagged; sample += 1) {
        const row = places.get(columns.label[sample]), column = places.get(columns.other[sample]);
        if (row !== undefined && column !== undefined && row !== column) counts[row][column] += 1;
      }
      const largest = Math.max(1, ...counts.flat());
      matrix.z = counts.map((row) => row.map((number) => -Math.sqrt(number / largest)));
      if (matrix.text) matrix.text = counts.map((row) => row.map((number) => (number ? String(number) : "")));
      matrix.customdata = matrix.customdata.map((row, place) => row.map(([given, suggested], column) => [given, suggested, counts[place][column]]));
    },
    influence_by_class({ data: boxes }) {
      if (columns.wrong) return;  // corrupted and clean do not depend on the threshold
      const groups = boxes.map(() => [...chosen.boxes, null].map(() => []));
      const places = new Map(chosen.boxes.map((position, place) => [position, place]));
      for (let sample = 0; sample < columns.label.length; sample += 1) {
        const influence = columns.influence[sample];
        if (Number.isNaN(influence)) continue;
        const group = groups[sample < now.flagged ? 1 : 0];
        if (places.has(columns.label[sample])) group[places.get(columns.label[sample])].push(influence);
        group.at(-1).push(influence);
      }
      boxes.forEach((box, number) => {
        const filled = groups[number].map((values, place) => [Float32Array.from(values).sort(), place]).filter(([values]) => values.length);
        box.y = filled.map(([, place]) => place + (number === 0 ? -0.19 : 0.19));
        Object.entries({ lowerfence: 0.05, q1: 0.25, median: 0.5, q3: 0.75, upperfence: 0.95 }).forEach(([key, share_]) => {
          box[key] = filled.map(([values]) => quantile(values, share_));
        });
      });
    },
  };

  function quantile(sorted, part) {
    const place = part * (sorted.length - 1), below = Math.floor(place);
    return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
  }

  function moveMark({ data, layout }, x, y) {
    const mark = data.find((trace) => trace.mode === "markers");
    Object.assign(mark, { x: [x], y: [y], name: `threshold ${shownThreshold()}` });
    Object.assign(layout.annotations[0], { x, y, text: `threshold ${shownThreshold()}`, ax: x > 0.5 ? -46 : 60, ay: y > 0.5 ? 46 : -46 });
  }

  function draw(node, wanted = theme()) {
    const figure = structuredClone(figures[wanted === "print" ? "light" : wanted][node.dataset.figure]);
    if (wanted === "print") figure.layout.width = PRINTED_WIDTH;
    if (threshold !== chosen.threshold) adjust[node.dataset.figure]?.(figure);
    node.dataset.drawn = wanted;
    return Plotly.react(node, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  }

  function startPlots() {
    for (const node of plots) node.style.minHeight = `${figures.light[node.dataset.figure].layout.height}px`;
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
      }
    }, { rootMargin: "500px" });
    for (const node of plots) near.observe(node);
    window.addEventListener("beforeprint", () => { unfold(true); plots.forEach((node) => draw(node, "print")); });
    window.addEventListener("afterprint", () => { unfold(false); redraw(); requestAnimationFrame(fit); });
    printing.addEventListener("change", () => {
      unfold(printing.matches);
      if (printing.matches) plots.forEach((node) => draw(node)); else { redraw(); requestAnimationFrame(fit); }
    });
  }

  // What is drawn again right after printing is measured in a page that is still as wide as the paper.
  function fit() {
    for (const node of plots) if (node.dataset.drawn) Plotly.Plots.resize(node);
  }

  // Paper cannot be unfolded by its reader.
  function unfold(wanted) {
    for (const node of document.querySelectorAll(wanted ? "details:not([open])" : "details[data-unfolded]")) {
      node.open = wanted;
      node.toggleAttribute("data-unfolded", wanted);
    }
  }

  function redraw(moving = []) {
    for (const node of plots) {
      if (node.dataset.drawn && (node.dataset.drawn !== theme() || moving.includes(node.dataset.figure))) draw(node);
    }
  }

  function startTheme() {
    const button = document.getElementById("theme");
    const set = (value) => {
      document.documentElement.dataset.theme = value;
      button.textContent = value === "dark" ? "Light" : "Dark";
      button.setAttribute("aria-label", `switch to the ${value === "dark" ? "light" : "dark"} theme`);
      redraw();
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      const value = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("influence-audit-theme", value); } catch (error) { /* the choice lasts for this page */ }
      set(value);
    });
    set(document.documentElement.dataset.theme);
  }

  function startCopy() {
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", async () => {
        const code = button.previousElementSibling;
        try {
          await navigator.clipboard.writeText(code.textContent);
          button.textContent = "Copied";
        } catch (error) {
          getSelection().selectAllChildren(code);
          button.textContent = "Selected";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 1600);
      });
    }
  }

  startTheme();
  startApp();
  startFlagged();
  showCompared();
  showConfused();
  startThreshold();
  startClasses();
  startExplained();
  startCopy();
  document.addEventListener("DOMContentLoaded", startPlots);
})();
