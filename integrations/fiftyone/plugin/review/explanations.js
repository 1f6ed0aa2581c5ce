// What the review shows beside a picture: the pictures most like it, of which one request asks for several samples
// ahead of time; and, if the reviewer asks why a label is suspect, the training samples that speak for and against it.

import { AHEAD } from "./pictures.js";

const LEAST_ASKED = 5; // samples in a request, unless the one on screen is not known
const KEPT = 200;
const STAYS = 400; // milliseconds on a sample before its influence is asked for
const PAUSE = 300; // milliseconds before the server is asked again: it may still be reading the embeddings

export class Explanations {
  constructor(queue) {
    this.queue = queue;
    this.nearest = new Map(); // by sample
    this.influence = new Map();
    this.withInfluence = false; // whether the reviewer asks why labels are suspect
  }

  clear() {
    this.forget();
    this.withInfluence = false;
  }

  forget() {
    this.nearest.clear();
    this.influence.clear();
  }

  toggleInfluence() {
    this.withInfluence = !this.withInfluence;
    this.queue.set({});
    this.look();
  }

  // Ask for the nearest pictures of the sample on screen and of the next ones; again until the first one is known.
  async look() {
    const { current, ahead } = this.queue.state;
    this.lookForInfluence();
    if (this.isAsking || !current || current.suspicion === null) return;
    const wanted = [current, ...ahead.slice(0, AHEAD)].filter(({ suspicion }) => suspicion !== null);
    const unknown = wanted.map(({ sample }) => sample).filter((sample) => !this.nearest.has(sample));
    const isUrgent = unknown.includes(current.sample);
    if (!unknown.length || (!isUrgent && unknown.length < Math.min(LEAST_ASKED, wanted.length - 1))) return;
    this.isAsking = true;
    const found = await this.queue.ask({ do: "explain", nearest: unknown });
    this.take(this.nearest, found?.nearest);
    this.queue.set({});
    setTimeout(() => {
      this.isAsking = false;
      if (found) this.look();
    }, PAUSE);
  }

  // Influence takes the server some time. It is asked for a sample that the reviewer stays on, and for no other.
  lookForInfluence() {
    clearTimeout(this.waiting);
    const sample = this.queue.state.current?.sample;
    if (!this.withInfluence || !sample || this.influence.has(sample)) return;
    this.waiting = setTimeout(async () => {
      const found = await this.queue.ask({ do: "explain", samples: [sample] });
      this.take(this.influence, found?.explanations);
      this.queue.set({});
      if (found && this.queue.state.current?.sample === sample) this.lookForInfluence();
    }, STAYS);
  }

  take(kept, found) {
    Object.entries(found ?? {}).forEach(([sample, explanation]) => kept.set(sample, explanation));
    while (kept.size > KEPT) kept.delete(kept.keys().next().value);
  }
}
