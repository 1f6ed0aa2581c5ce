// The outline of the sample on screen, in the grid.

const GRID = "[data-cy='fo-grid'] [data-cy='looker']";
const MARK = "data-on-screen";
// Over the picture, which would cover a border; in the color by which the class matrix marks the sample on screen.
const LOOK = "content: ''; position: absolute; inset: 0; border: 3px solid #3b82f6; z-index: 1; pointer-events: none;";
let sampleAt = new WeakMap(); // by place in the grid
let current = null;

const style = document.createElement("style");
style.textContent = `${GRID}[${MARK}]::after { ${LOOK} }`;
document.head.append(style);

// Which sample is drawn in which place: it is looked up in `drawn`, from now on.
export function follow(drawn) {
  sampleAt = drawn;
  markAll();
}

// Mark a place that shows the current sample, or take its mark off.
export function mark(place) {
  place.firstElementChild?.toggleAttribute(MARK, current !== null && sampleAt.get(place) === current);
}

// Outline the picture of a sample, and no other; none for null.
export function outline(sample) {
  if (sample === current) return;
  current = sample;
  markAll();
}

function markAll() {
  document.querySelectorAll(GRID).forEach((picture) => mark(picture.parentElement));
}
