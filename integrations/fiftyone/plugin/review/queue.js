// The review's queue: the sample that is on screen, those that follow, and decisions on their way to the server.
// One queue for all panels of a page, so that grid and sample view show the same sample. It draws nothing.

import { Explanations } from "./explanations.js";
import { AHEAD, prefetch } from "./pictures.js";
import { ask } from "./server.js";

const CARDS = 40; // samples that are known beyond that, so that a slow answer does not hold up the reviewer
const LEAST_ON_SCREEN = 50; // milliseconds before a decision counts
const LEAST_BROUGHT_BACK = 1000; // the same for a sample that comes back in front of another one
const RELOAD_AFTER = 2500; // milliseconds without a decision, before the grid is loaded again
const NOTHING = {
  ...{ current: null, ahead: [], loading: true, complete: false, progress: null, outcome: null },
  ...{ pairs: null, sheet: null, plan: null, matrix: null, agreement: null, start: null },
};

class Queue {
  constructor() {
    this.listeners = new Set();
    this.context = null; // what every request says of dataset and view
    this.filters = null;
    this.shown = null; // { sample, since }: the sample whose picture is on screen
    this.waiting = []; // decisions that the server has not got yet
    this.sending = null;
    this.decidedAt = new Map(); // samples by the number of their decision, so that older answers do not bring them back
    this.decisions = 0;
    this.made = []; // batches of this page's decisions, the last one last
    this.explanations = new Explanations(this);
    this.asked = 0; // counts what was asked, so that a late answer is known as one
    this.state = { ...NOTHING, problem: null, conflict: null, early: 0, zoomed: false };
    addEventListener("pagehide", () => this.send(true));
  }

  subscribe = (listener) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  snapshot = () => this.state;

  set(changes) {
    this.state = { ...this.state, ...changes };
    if (this.isTelling) return; // several changes of one event are drawn once
    this.isTelling = true;
    queueMicrotask(() => {
      this.isTelling = false;
      this.listeners.forEach((listener) => listener());
    });
  }

  // --- what is reviewed ---------------------------------------------------------------------------------------------

  // Another dataset, audit, view or filter begins a new queue; the same ones leave it as it is.
  follow(context, filters) {
    const before = this.followed;
    this.followed = JSON.stringify([context, filters]);
    if (before === this.followed) return;
    const dataset = this.context?.dataset_name;
    this.context = context;
    if (this.filters?.audit_key !== filters.audit_key || dataset !== context.dataset_name) {
      this.made = [];
      this.explanations.clear();
      this.set({ ...NOTHING, problem: null, conflict: null });
    } else if (this.filters.version !== filters.version) {
      this.explanations.forget(); // an audit that was made anew flags others
    }
    this.filters = filters;
    this.load();
    this.onFollowed?.();
  }

  // Ask anew, keeping the sample that `sample` names in front.
  async load(sample = null) {
    const asked = ++this.asked;
    await this.saved();
    const found = await this.ask({ do: "queue", count: CARDS + 1, samples: sample ? [sample] : [] });
    if (!found || asked !== this.asked) return;
    this.showFirst(found);
  }

  showFirst({ cards, complete, progress }) {
    const [current, ...ahead] = cards;
    // Where nobody has decided yet, what to do is said until the reviewer closes it: nothing moves at a decision.
    const start = this.state.start ?? isUntouched(progress);
    this.set({ ahead, complete, loading: false, progress, start });
    this.show(current ?? null);
  }

  // Look again at what others may have changed; go on from a sample that was decided on meanwhile.
  async refresh() {
    const { current } = this.state;
    if (!this.context) return;
    if (!current) return this.load();
    const asked = ++this.asked;
    await this.saved();
    const found = await this.ask({ do: "queue", samples: [current.sample], count: CARDS, after: current.sample });
    if (!found || asked !== this.asked) return;
    const now = found.cards[0];
    const isOver = now?.sample !== current.sample || (current.status === "unreviewed" && now.status !== "unreviewed");
    if (isOver && !this.isSampleOpen?.()) return this.load();
    this.showFirst(found);
  }

  // Show a sample that was opened or selected.
  async open(sample) {
    if (!sample || this.state.current?.sample === sample) return;
    const asked = ++this.asked;
    await this.saved();
    const found = await this.ask({ do: "queue", samples: [sample], count: CARDS, after: sample });
    if (!found?.cards.length || asked !== this.asked) return;
    this.set({ outcome: null }); // it was of another sample
    this.showFirst(found);
  }

  // --- what is on screen --------------------------------------------------------------------------------------------

  show(card, least = LEAST_ON_SCREEN) {
    if (card?.sample !== this.shown?.sample) this.shown = null;
    this.least = least;
    this.set({ current: card, conflict: null, asksLabel: false });
    if (card) prefetch(card.filepath);
    this.state.ahead.slice(0, AHEAD).forEach(({ filepath }) => prefetch(filepath));
    this.refill();
    this.explanations.look();
  }

  // The panel says that the picture of a sample is on screen.
  painted(sample) {
    if (this.state.current?.sample !== sample || this.shown?.sample === sample) return;
    this.shown = { sample, since: performance.now() };
  }

  isOnScreen() {
    const { current } = this.state;
    return current && this.shown?.sample === current.sample && performance.now() - this.shown.since >= this.least;
  }

  // A key that came before the picture did: said, and nothing else.
  ignore() {
    this.set({ early: this.state.early + 1 });
  }

  // The next sample, without a decision on this one.
  next() {
    const { ahead } = this.state;
    this.asked++;
    if (!ahead.length) return this.skipToStart();
    this.set({ ahead: ahead.slice(1), outcome: null });
    this.show(ahead[0]);
  }

  async skipToStart() {
    const { current } = this.state;
    const asked = ++this.asked;
    const found = await this.ask({ do: "queue", after: current?.sample ?? null, count: CARDS + 1 });
    if (!found || asked !== this.asked) return;
    this.showFirst(found);
  }

  async refill() {
    const { ahead, current, complete } = this.state;
    if (this.refilling || complete || !current || ahead.length > CARDS / 2) return;
    this.refilling = true;
    const { asked, decisions } = this;
    const known = [current.sample, ...ahead.map(({ sample }) => sample), ...this.pending()];
    const after = (ahead.at(-1) ?? current).sample;
    const found = await this.ask({ do: "queue", after, without: known, count: CARDS });
    this.refilling = false;
    if (!found || asked !== this.asked) return;
    const shown = [this.state.current, ...this.state.ahead].map((card) => card?.sample);
    const now = new Set([...shown, ...this.pending()]);
    const isNew = ({ sample }) => !now.has(sample) && !(this.decidedAt.get(sample) > decisions);
    const more = found.cards.filter(isNew);
    this.set({ ahead: [...this.state.ahead, ...more], complete: found.complete });
    more.forEach(({ filepath }) => prefetch(filepath));
    if (!this.state.current && this.state.ahead.length) this.next();
    this.explanations.look();
  }

  pending() {
    return this.waiting.flatMap(({ samples }) => samples);
  }

  // --- decisions ----------------------------------------------------------------------------------------------------

  // Decide on the sample that is on screen: the next one is shown at once, and the decision is sent behind it.
  decide(action, label = null) {
    const { current, ahead } = this.state;
    if (!this.isOnScreen() || this.state.conflict) return this.ignore();
    this.decidedAt.set(current.sample, ++this.decisions);
    const seen = current.decision?.batch ?? "";
    const { second_opinion } = current;
    const made = { action, label, samples: [current.sample], seen, second_opinion, card: current };
    this.waiting.push({ ...this.target(), ...made });
    this.set({ outcome: null, problem: null, ahead: ahead.slice(1), loading: !ahead.length && !this.state.complete });
    this.show(ahead[0] ?? null);
    this.send();
    if (!ahead.length) this.load(); // which waits until this decision is saved
  }

  // Decide on all samples that are selected in the grid, or in a contact sheet; there, those on which somebody else has
  // decided meanwhile stay as they are (`seen` is "").
  decideOn(action, label, samples, seen = undefined) {
    this.waiting.push({ ...this.target(), action, label, samples, seen });
    return this.send().then(() => this.load());
  }

  // Decide although somebody else has decided meanwhile.
  replace({ action, label, card }) {
    const seen = card.decision?.batch ?? "";
    const second_opinion = card.second_opinion; // of the card that the reviewer sees now
    this.waiting.push({ ...this.target(), action, label, samples: [card.sample], seen, second_opinion, card });
    this.next();
    return this.send();
  }

  // Send what waits, one request at a time, so that decisions arrive in the order they were made.
  send(leaving = false) {
    if (leaving) {
      const unsent = this.waiting.filter(({ isSent }) => !isSent);
      if (unsent.length) this.askToDecide(unsent);
      return;
    }
    this.sending ??= this.sendAll().finally(() => (this.sending = null));
    return this.sending;
  }

  async sendAll() {
    while (this.waiting.length) {
      const [{ dataset_name, audit_key }] = this.waiting; // of the first one: another dataset may be open by now
      const batch = this.waiting.filter((one) => one.dataset_name === dataset_name && one.audit_key === audit_key);
      batch.forEach((one) => (one.isSent = true));
      try {
        const answer = await this.askToDecide(batch);
        this.waiting = this.waiting.filter((one) => !batch.includes(one));
        this.set({ progress: answer.progress });
        this.onChanged?.(answer.documents);
        answer.outcomes.forEach((outcome, number) => this.take(batch[number], outcome));
      } catch (error) {
        const lost = [...this.waiting];
        this.waiting = [];
        const which = lost.length > 1 ? `${lost.length} decisions were` : "the decision was";
        this.bringBack(lost, `${which} not saved (${error.message})`);
        return;
      }
    }
    this.onSaved?.();
    this.reloadLater();
  }

  // Only then does the App draw the badges of samples that are on screen already, and make a view of undecided samples
  // anew. The grid stays where it is scrolled to.
  reloadLater() {
    clearTimeout(this.reloading);
    this.reloading = setTimeout(() => this.onQuiet?.(), RELOAD_AFTER);
  }

  target() {
    return { dataset_name: this.context.dataset_name, audit_key: this.filters.audit_key };
  }

  // Decisions name their samples: they need no view, which may be long.
  askToDecide(batch) {
    const [{ dataset_name, audit_key }] = batch;
    const { team } = this.filters;
    return ask({ dataset_name }, { do: "decide", audit_key, team, decisions: batch.map(plain) }, true);
  }

  take(decision, outcome) {
    if (outcome.error) return this.bringBack([decision], outcome.error);
    if (outcome.conflict) {
      this.bringBack([{ ...decision, card: outcome.conflict }], null);
      this.set({ conflict: { ...decision, card: outcome.conflict } });
      return;
    }
    if (outcome.batch) this.made.push(outcome.batch);
    this.set({ outcome: outcome.text });
  }

  // Samples whose decision did not arrive are shown again, the first one in front.
  bringBack(decisions, problem) {
    const cards = decisions.map(({ card }) => card).filter(Boolean);
    const { current, ahead } = this.state;
    const behind = [...cards.slice(1), ...(current ? [current] : []), ...ahead];
    this.asked++;
    if (cards.length) {
      this.set({ ahead: behind.filter(({ sample }) => sample !== cards[0].sample), loading: false });
      this.shown = null;
      this.show(cards[0], LEAST_BROUGHT_BACK);
    }
    this.set({ problem });
  }

  saved() {
    return this.sending ?? Promise.resolve();
  }

  // Take this page's last decision back; after a reload of the page, the last one of the same person.
  async undo() {
    await this.saved();
    const undone = await this.ask({ do: "undo", batch: this.made.pop() ?? null });
    if (!undone) return;
    const [card] = undone.cards;
    this.set({ outcome: undone.text, progress: undone.progress });
    if (card) {
      const { current, ahead } = this.state;
      this.asked++;
      const behind = [...(current ? [current] : []), ...ahead].filter(({ sample }) => sample !== card.sample);
      this.set({ ahead: behind, loading: false });
      this.show(card);
    }
    this.onChanged?.(undone.documents);
    this.onUndone?.();
    this.reloadLater();
  }

  async ask(params) {
    try {
      return await ask(this.context, { ...this.filters, ...params });
    } catch (error) {
      this.set({ problem: error.message, loading: false });
      return null;
    }
  }
}

const isUntouched = ({ statuses }) =>
  Object.entries(statuses).every(([status, count]) => status === "unreviewed" || !count);
const plain = ({ action, label, samples, seen, second_opinion }) => ({ action, label, samples, seen, second_opinion });

export const queue = new Queue();
