// What the review shows beside a picture: the pictures most like it and, where the reviewer asks why a label is
// suspect, the training samples that speak for and against it. One request asks for several samples, ahead of time.

import { AHEAD } from "./pictures.js";

const LEAST_ASKED = 5; // samples in a request, unless the one on screen is not known
const KEPT = 200;
const PAUSE = 300; // milliseconds before the server is asked again: it may still be reading the embeddings

export class Explanations {
  constructor(queue) {
    this.queue = queue;
    this.nearest = new Map(); // by sample
    this.influence = new Map();
    this.withInfluence = false; // whether the reviewer asks why labels are suspect
  }

  clear() {
    this.nearest.clear();
    this.influence.clear();
    this.withInfluence = false;
  }

  toggleInfluence() {
    this.withInfluence = !this.withInfluence;
    this.queue.set({});
    this.look();
  }

  // Ask for what is not known of the sample on screen and of the next ones; again while the first one's is not known.
  async look() {
    const { current, ahead } = this.queue.state;
    if (this.isAsking || !current || current.suspicion === null) return;
    const wanted = [current, ...ahead.slice(0, AHEAD)].filter(({ suspicion }) => suspicion !== null);
    const unknown = (kept) => wanted.map(({ sample }) => sample).filter((sample) => !kept.has(sample));
    const asked = { nearest: unknown(this.nearest), samples: this.withInfluence ? unknown(this.influence) : [] };
    const isUrgent = Object.values(asked).some((samples) => samples.includes(current.sample));
    const most = Math.max(asked.nearest.length, asked.samples.length);
    if (!most || (!isUrgent && most < Math.min(LEAST_ASKED, wanted.length - 1))) return;
    this.isAsking = true;
    const found = await this.queue.ask({ do: "explain", ...asked });
    this.take(this.nearest, found?.nearest);
    this.take(this.influence, found?.explanations);
    this.queue.set({});
    setTimeout(() => {
      this.isAsking = false;
      if (found) this.look();
    }, PAUSE);
  }

  take(kept, found) {
    Object.entries(found ?? {}).forEach(([sample, explanation]) => kept.set(sample, explanation));
    while (kept.size > KEPT) kept.delete(kept.keys().next().value);
  }
}
