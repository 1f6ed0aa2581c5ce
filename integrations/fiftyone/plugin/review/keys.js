// Keys of the review. They decide on the picture that is on screen; one that comes before it is ignored, and said so.

import { batches } from "./batches.js";
import { decideFor, decideOn, goOn } from "./decisions.js";
import { isInSight } from "./pictures.js";
import { queue } from "./queue.js";

const ACTIONS = {
  KeyA: () => decideOn("accept"),
  KeyC: () => decideOn("confirm"),
  KeyD: () => decideOn("dismiss"),
  KeyL: () => queue.set({ asksLabel: true }),
  KeyN: () => goOn(),
  KeyS: () => decideOn("unsure"),
  KeyU: () => queue.undo(),
  KeyZ: () => queue.set({ zoomed: !queue.state.zoomed }),
  Digit1: () => decideFor(0),
  Digit2: () => decideFor(1),
  Digit3: () => decideFor(2),
};
const DECIDES = ["KeyA", "KeyC", "KeyD", "KeyS", "Digit1", "Digit2", "Digit3"];

// Whether the key was one of the review's. `code` is the key, whatever the keyboard's layout.
export function reviewKey(code) {
  const action = ACTIONS[code];
  if (!action) return false;
  if (batches.isOpen() && DECIDES.includes(code)) return true; // a contact sheet has buttons only
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
