// What the parts of the report share: the data that Python gave, numbers as text, and elements of the page.
const page = JSON.parse(document.getElementById("page-data").textContent);
const { galleries, words, threshold: chosen } = page;
const samples = galleries.samples;

// A text of reports/page_texts.py, with its numbers filled in.
const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
const whole = (value) => value.toLocaleString("en-US");
const several = (number, key) => say(number === 1 ? `${key}_one` : `${key}_many`, { number: whole(number) });
const named = (label) => (label === null || label.trim() === "" ? words.empty : label);
const shortened = (text, most) => ([...text].length > most ? `${[...text].slice(0, most - 1).join("")}…` : text);

// Probabilities of a model: none is shown as certain.
const percent = (value) => {
  if (value === null) return words.unknown;
  return value >= page.limits.nearly_all ? words.nearly_all : `${(100 * value).toFixed(0)}%`;
};
const likelihood = (value) => {
  if (value === null) return words.unknown;
  return value >= page.limits.nearly_all ? words.nearly_one : value.toFixed(2);
};
const about = (value) => (value >= page.limits.nearly_all ? percent(value) : say("about", { text: percent(value) }));
const precise = (value) => {
  if (value === null) return words.unknown;
  const text = Math.abs(value) >= 1000 ? whole(Math.round(value)) : value.toPrecision(3);
  return text.replaceAll("-", words.minus);
};
const signed = (value) => (value !== null && value > 0 ? `+${precise(value)}` : precise(value));

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

function drawn(tag, attributes = {}, children = []) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const name = (label, kind) => element("bdi", { class: kind, title: named(label) }, [named(label)]);

// What is kept in the browser lasts for the page only where storage is forbidden.
function kept(key) {
  try { return localStorage.getItem(key); } catch (error) { return null; }
}
function keep(key, text) {
  try { localStorage.setItem(key, text); } catch (error) { /* it lasts for this page */ }
}
