"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const cards = [...document.querySelectorAll(".decide")];
  const KEYS = { r: "right", w: "wrong", u: "unsure" };
  const WORD = page.header.indexOf("decision");
  const TRUE_LABEL = page.header.indexOf("true_label");
  const STORED = `influence-audit-verification-${page.key}`;
  const id = (number) => page.rows[number][0];
  let current = 0;

  // What is decided: by row, the word and the cell of the true label. The file's own come first, then the browser's.
  const decisions = page.rows.map((row) => ({ word: row[WORD], label: row[TRUE_LABEL] }));
  function restore() {
    let stored = {};
    try { stored = JSON.parse(localStorage.getItem(STORED)) ?? {}; } catch (error) { /* storage may be forbidden */ }
    cards.forEach((card, number) => {
      const kept = stored[id(number)];
      if (kept && ["", ...Object.values(KEYS)].includes(kept.word)) decisions[number] = { word: kept.word, label: String(kept.label ?? "") };
    });
  }
  function keep() {
    const stored = Object.fromEntries(cards.map((card, number) => [id(number), decisions[number]]));
    try { localStorage.setItem(STORED, JSON.stringify(stored)); } catch (error) { /* they last for this page */ }
  }

  // The list of classes may be long: it is put into a card only when its label is wrong.
  function fill(select, number) {
    if (select.options.length) return;
    select.add(new Option("not named", ""));
    page.classes.forEach((name, place) => {
      if (page.class_cells[place] !== page.rows[number][page.header.indexOf("label")]) select.add(new Option(name, String(place)));
    });
    const other = decisions[number].label;
    if (other && !page.class_cells.includes(other)) select.add(new Option(other, "other"));
  }

  function show(number) {
    const { word, label } = decisions[number];
    for (const button of cards[number].querySelectorAll(".choice")) {
      button.setAttribute("aria-pressed", String(button.dataset.word === word));
    }
    const field = cards[number].querySelector(".true-label");
    field.hidden = word !== "wrong";
    if (word === "wrong") {
      const select = field.querySelector("select");
      fill(select, number);
      const place = page.class_cells.indexOf(label);
      select.value = label === "" ? "" : place < 0 ? "other" : String(place);
    }
  }

  function showProgress() {
    const decided = cards.filter((card, number) => decisions[number].word).length;
    document.getElementById("progress").value = decided;
    document.getElementById("count").textContent = `${decided} of ${cards.length} decided`;
    document.getElementById("next-open").disabled = decided === cards.length;
  }

  function decide(number, word) {
    decisions[number] = { word, label: word === "wrong" ? decisions[number].label : "" };
    show(number);
    showProgress();
    keep();
  }

  // After the last picture none is current, so that a key too many changes nothing.
  function go(number, scroll = true) {
    if (number < 0 || number > cards.length) return;
    cards[current]?.classList.remove("current");
    current = number;
    if (number === cards.length) {
      document.activeElement?.blur();
      document.getElementById("done").scrollIntoView({ block: "center" });
      return;
    }
    cards[current].classList.add("current");
    if (!scroll) return;
    cards[current].focus({ preventScroll: true });
    cards[current].scrollIntoView({ block: "center" });
  }

  function nextOpen() {
    const open = [...cards.keys()].filter((number) => !decisions[number].word);
    return open.find((number) => number > current) ?? open[0];
  }

  function nameTrueLabel(number) {
    if (decisions[number].word !== "wrong") decide(number, "wrong");
    cards[number].querySelector("select").focus();
  }

  cards.forEach((card, number) => {
    card.addEventListener("click", (event) => {
      go(number, false);
      const button = event.target.closest(".choice");
      if (button) decide(number, decisions[number].word === button.dataset.word ? "" : button.dataset.word);
    });
    card.addEventListener("focusin", () => go(number, false));
    card.querySelector("select").addEventListener("change", (event) => {
      const { value } = event.target;
      if (value !== "other") decisions[number].label = value === "" ? "" : page.class_cells[Number(value)];
      keep();
    });
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !cards.length) return;
    if (event.target.closest("select")) {
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        go(event.key === "Enter" ? current + 1 : current);
      }
      return;
    }
    const key = event.key.toLowerCase();
    if (key in KEYS && current < cards.length) {
      decide(current, KEYS[key]);
      go(current + 1);
    } else if (key === "t" && current < cards.length) {
      event.preventDefault();
      nameTrueLabel(current);
    } else if (key === "arrowright") {
      event.preventDefault();
      go(current + 1);
    } else if (key === "arrowleft") {
      event.preventDefault();
      go(current - 1);
    }
  });

  document.getElementById("next-open").addEventListener("click", () => {
    const number = nextOpen();
    if (number !== undefined) go(number);
  });

  const cell = (text) => (/[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  document.getElementById("download").addEventListener("click", () => {
    const rows = page.rows.map((row, number) => row.map((text, column) => {
      if (column === WORD) return decisions[number].word;
      return column === TRUE_LABEL ? decisions[number].label : text;
    }));
    const text = [page.header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
    const url = URL.createObjectURL(new Blob(["\ufeff", text, "\r\n"], { type: "text/csv" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: "verification.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });

  restore();
  cards.forEach((card, number) => show(number));
  showProgress();
  const first = [...cards.keys()].find((number) => !decisions[number].word) ?? cards.length;
  if (cards.length) go(first, first > 0);
})();
