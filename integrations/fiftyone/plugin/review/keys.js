// Keys of the review. They decide on the picture that is on screen; one that comes before it is ignored, and said so.

import { decisionFor, likeliest } from "./label_choice.js";
import { decideOn, goOn } from "./panel.js";
import { isInSight } from "./pictures.js";
import { queue } from "./queue.js";

const ACTIONS = {
  KeyA: () => decideOn("accept"),
  KeyC: () => decideOn("confirm"),
  KeyD: () => decideOn("dismiss"),
  KeyL: () => queue.set({ asksLabel: true }),
  KeyN: () => goOn(),
  KeyU: () => queue.undo(),
  Digit1: () => decideFor(0),
  Digit2: () => decideFor(1),
  Digit3: () => decideFor(2),
};
const DECIDES = ["KeyA", "KeyC", "KeyD", "Digit1", "Digit2", "Digit3"];

function decideFor(number) {
  const { current } = queue.state;
  const choice = current && likeliest(current, queue.confused)[number];
  if (choice) decideOn(...decisionFor(current, choice.label));
}

// Whether the key was one of the review's. `code` is the key, whatever the keyboard's layout.
export function reviewKey(code) {
  const action = ACTIONS[code];
  if (!action) return false;
  const several = queue.selected?.length > 1 && !queue.isSampleOpen?.();
  const picture = queue.picture?.();
  if (DECIDES.includes(code) && !several && picture && !queue.isSampleOpen?.() && !isInSight(picture)) {
    picture.scrollIntoView({ block: "center" });
    queue.ignore();
    return true;
  }
  action();
  return true;
}
