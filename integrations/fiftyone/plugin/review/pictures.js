// Pictures that are loaded before they are shown, and when the current one came on screen.

import { pictureOf } from "./server.js";

export const AHEAD = 10; // samples whose pictures and explanations are loaded before they are asked for
const KEPT = 60;
const loaded = new Map(); // by address: the image, which keeps the browser from dropping it

export function prefetch(filepath) {
  const address = pictureOf(filepath);
  if (loaded.has(address)) return;
  const image = new Image();
  image.src = address;
  image.decode?.().catch(() => {}); // a file that is no picture is shown as such
  loaded.set(address, image);
  while (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
}

// Calls back once a picture that is complete has been painted: the first task after the next frame.
export function whenPainted(callback) {
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = callback;
    port2.postMessage(null);
  });
}

export function isInSight(element) {
  const { top, bottom, left, right, width } = element.getBoundingClientRect();
  if (!width) return false;
  const seen = document.elementFromPoint((left + right) / 2, (Math.max(0, top) + Math.min(innerHeight, bottom)) / 2);
  return Boolean(seen) && (seen === element || element.contains(seen) || seen.contains(element));
}
