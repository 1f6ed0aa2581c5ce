"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const { galleries, figures } = page;
  const samples = galleries.samples;
  const FLAGGED_A_PAGE = 60;
  const COMPARED_A_PAGE = 24;
  const MINUS = "\u2212";

  // plotly sets style attributes, which the page's policy forbids; set through the object model they are allowed.
  const setAttribute = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (String(name).toLowerCase() === "style") { this.style.cssText = value; } else { setAttribute.call(this, name, value); }
  };

  // These are estimates: none is shown as certain.
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

  const name = (label, kind) => element("bdi", { class: kind, title: named(label) }, [named(label)]);
  const change = (sample) => element("span", { class: "labels" }, [
    name(sample.given, "given"),
    ...(sample.suggested === sample.given ? [" looks right "] : [" → ", name(sample.suggested, "suggested"), " "]),
    element("span", { class: "chance" }, [about(sample.suggested_probability)]),
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
      fact("influence", signed(sample.influence)),
      fact("split", sample.split),
      badge(sample),
    ])];
  }

  function compactCard(sample, influence) {
    return [picture(sample), element("span", { class: "text" }, [
      element("span", { class: "labels" }, [name(sample.given, "given")]),
      element("span", { class: "facts" }, [element("span", {}, [signed(influence)]), element("span", {}, [sample.flag ? "flagged" : ""])]),
    ])];
  }

  function card(position, list, content) {
    const button = element("button", { class: "card", type: "button" }, content);
    button.dataset.sample = samples[position].id;
    button.addEventListener("click", () => openSheet(list, list.indexOf(position), button));
    return element("li", {}, [button]);
  }

  // -- a gallery of full cards, a page at a time
  function fill(container, list, more, pageSize, onCount) {
    let shown = 0;
    const grow = () => {
      const next = list.slice(shown, shown + pageSize);
      container.append(...next.map((position) => card(position, list, fullCard(samples[position]))));
      shown += next.length;
      more.hidden = shown >= list.length;
      more.textContent = `Show ${Math.min(pageSize, list.length - shown)} more`;
      onCount(shown);
    };
    container.replaceChildren();
    more.onclick = grow;
    grow();
  }

  function startFlagged() {
    const form = document.getElementById("flagged-filters");
    if (!form) return;
    const container = document.getElementById("flagged-gallery");
    const more = document.getElementById("flagged-more");
    const status = document.getElementById("flagged-count");
    const all = galleries.flagged;
    for (const key of ["given", "suggested"]) {
      const counts = new Map();
      for (const position of all) counts.set(samples[position][key], (counts.get(samples[position][key]) ?? 0) + 1);
      const options = [...counts].sort((a, b) => b[1] - a[1] || named(a[0]).localeCompare(named(b[0]), "en"));
      for (const [label, number] of options) {
        const shownName = named(label).length > 40 ? `${named(label).slice(0, 39)}…` : named(label);
        form.elements[key].append(element("option", { value: `=${label}` }, [`${shownName} (${number})`]));
      }
    }
    const orders = {
      suspicion: (a, b) => b.suspicion - a.suspicion,
      harmful: (a, b) => a.influence - b.influence,
      self_influence: (a, b) => b.self_influence - a.self_influence,
      suggested: (a, b) => b.suggested_probability - a.suggested_probability,
      label: (a, b) => a.given.localeCompare(b.given, "en") || b.suspicion - a.suspicion,
    };
    const apply = () => {
      const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const { given, suggested, origin, order } = form.elements;
      const list = all.filter((position) => {
        const sample = samples[position];
        const text = `${sample.id} ${sample.path ?? ""} ${sample.given} ${sample.suggested ?? ""}`.toLowerCase();
        return (given.value === "" || given.value === `=${sample.given}`)
          && (suggested.value === "" || suggested.value === `=${sample.suggested}`)
          && (!origin || origin.value === "" || sample.injected === (origin.value === "injected"))
          && words.every((word) => text.includes(word));
      }).sort((a, b) => orders[order.value](samples[a], samples[b]));
      fill(container, list, more, FLAGGED_A_PAGE, (shown) => {
        const scope = list.length === all.length ? "flagged samples" : `matching of ${whole(all.length)} flagged samples`;
        status.textContent = list.length ? `Showing ${whole(shown)} of ${whole(list.length)} ${scope}.` : "No flagged sample matches.";
      });
    };
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("flagged-reset").addEventListener("click", () => { form.reset(); apply(); });
    apply();
  }

  function startCompared() {
    for (const key of ["missed", "unexpected"]) {
      const container = document.getElementById(`${key}-gallery`);
      if (container) fill(container, galleries[key], document.getElementById(`${key}-more`), COMPARED_A_PAGE, () => {});
    }
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
    for (const entry of galleries.explained) {
      container.append(element("div", { class: "explained" }, [
        element("ul", { class: "grid" }, [card(entry.target, [entry.target], fullCard(samples[entry.target]))]),
        element("div", {}, [
          element("h4", {}, ["Training images that help it most"]), neighbourGrid(entry.helpful),
          element("h4", {}, ["Training images that harm it most"]), neighbourGrid(entry.harmful),
        ]),
      ]));
    }
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
      ["given label", sample.given], ["suggested label", `${named(sample.suggested)} (${about(sample.suggested_probability)} likely right)`],
      ...(sample.injected ? [["label before injection", sample.original]] : []),
      ["suspicion", likelihood(sample.suspicion)], ["leave-one-out probability", precise(sample.loo_probability)],
      ["influence", `${signed(sample.influence)} nats`], ["self-influence", `${precise(sample.self_influence)} nats`],
      ["split", sample.split], ["flagged", sample.flag ? "yes" : "no"],
      ...(sample.injected === null ? [] : [["origin", sample.injected ? "injected mislabel" : "your label"]]),
      ["sample id", sample.id], ...(sample.path === null ? [] : [["file", sample.path]]),
    ];
    const explained = galleries.explained.find((entry) => entry.target === opened.list[opened.number]);
    const neighbours = explained ? ["helpful", "harmful"].map((kind) => element("div", { class: "neighbours" }, [
      element("h3", {}, [`Most ${kind} training images for it`]), neighbourGrid(explained[kind]),
    ])) : [];
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
      picture(sample),
      element("dl", {}, facts.flatMap(([term, value]) => [
        element("dt", {}, [term]), element("dd", {}, [element("bdi", {}, [named(value)])]),
      ])),
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
  const theme = () => (printing.matches ? "light" : document.documentElement.dataset.theme);

  function draw(node, wanted = theme()) {
    const figure = structuredClone(figures[wanted][node.dataset.figure]);
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
    window.addEventListener("beforeprint", () => plots.forEach((node) => draw(node, "light")));
    window.addEventListener("afterprint", redraw);
    printing.addEventListener("change", () => (printing.matches ? plots.forEach((node) => draw(node)) : redraw()));
  }

  function redraw() {
    for (const node of plots) if (node.dataset.drawn && node.dataset.drawn !== theme()) draw(node);
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
  startFlagged();
  startCompared();
  startClasses();
  startExplained();
  startCopy();
  document.addEventListener("DOMContentLoaded", startPlots);
})();
