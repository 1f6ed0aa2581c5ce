// The sample that is on screen: its picture, which can be zoomed, and what is known of it.

import { whenPainted } from "./pictures.js";
import { queue } from "./queue.js";
import { pictureOf } from "./server.js";
import { ago, number, VERBS } from "./words.js";

const { createElement: h, useEffect, useLayoutEffect, useRef, useState } = window.React;
const { Box, Typography } = window.__mui__;
// Whatever is known of a sample: the buttons below stay where they are. It is less in a low window, to show them too.
const HEIGHT = "clamp(180px, 34vh, 320px)";
const ZOOM = 3; // times, of the key
const MOST_ZOOM = 12;

export function Sample({ state, opened }) {
  const { current } = state;
  if (!current) return h(Box, { sx: { height: HEIGHT } }, h(Nothing, { state }));
  return h(
    Box,
    { sx: { display: "grid", gridTemplateColumns: "minmax(0, 3fr) minmax(0, 2fr)", gap: 2, height: HEIGHT } },
    h(Picture, { key: current.sample, card: current, opened, zoomed: state.zoomed }),
    current.suspicion === null
      ? h(Typography, { variant: "body2" }, "This sample is not part of the audit.")
      : h(Facts, { card: current })
  );
}

function Nothing({ state: { loading, progress } }) {
  if (loading) return h(Typography, { variant: "body2" }, "Loading …");
  const left = progress ? progress.flagged - progress.reviewed : 0;
  const heading = left > 0 ? "All flagged samples in this view are decided." : "All flagged samples are decided.";
  return h(
    Box,
    null,
    h(Typography, { variant: "subtitle2" }, heading),
    h(Typography, { variant: "body2" }, whatIsNext(left, progress?.to_apply ?? 0))
  );
}

function whatIsNext(left, toApply) {
  if (left > 0) {
    const others = left === 1 ? "sample outside of it is" : "samples outside of it are";
    return `${number(left)} flagged ${others} not: press 'Show all samples', or move the slider.`;
  }
  if (toApply > 0) return "Press 'Apply' to write the corrected labels into your label field.";
  return "Move the slider down to look at labels that are less suspect.";
}

function Facts({ card }) {
  const { given, injected, label, suggested, probability, suspicion, influence, status, corrected, history } = card;
  const row = (name, value, more = "") => h(Box, null, `${name}: `, h("b", null, value), more);
  return h(
    Box,
    { sx: { fontSize: 15, lineHeight: 1.6, overflowWrap: "anywhere", overflowY: "auto", minWidth: 0 } },
    card.second_opinion && h(Box, { sx: { color: "warning.main" } }, "second opinion: decide for yourself"),
    row("given", given ?? "–", injected ? ` (changed on purpose; your label is ${label ?? "–"})` : ""),
    row("suggested", suggested ?? "–", probability === null ? "" : ` (score ${probability.toFixed(2)})`),
    row("suspicion", suspicion > 0.995 && suspicion < 1 ? "above 0.995" : suspicion.toFixed(3)),
    influence !== null && row("influence", signed(influence), influence < 0 ? " (harms)" : " (helps)"),
    row("status", status ?? "unreviewed", corrected ? [" to ", h("b", { key: "to" }, corrected)] : ""),
    history.length > 0 && h(History, { history })
  );
}

const signed = (influence) => `${influence < 0 ? "" : "+"}${influence.toPrecision(3)}`;

function History({ history }) {
  return h(
    Box,
    { "data-cy": "history", sx: { mt: 1, fontSize: 13, lineHeight: 1.4, color: "text.secondary" } },
    history.map(({ action, by, seconds, before, after, undone }, place) =>
      h(
        Box,
        { key: place, sx: { textDecoration: undone ? "line-through" : "none" } },
        `${by} ${VERBS[action] ?? action}${before === after ? "" : `: ${before ?? "–"} → ${after ?? "–"}`}, `,
        `${ago(seconds)}${undone ? " (taken back)" : ""}`
      )
    )
  );
}

// The wheel zooms, dragging moves what is zoomed, a double click or the key goes back.
function Picture({ card, opened, zoomed }) {
  const image = useRef(null);
  const frame = useRef(null);
  const [{ scale, x, y }, setPlace] = useState({ scale: zoomed ? ZOOM : 1, x: 0, y: 0 });
  const drag = useRef(null);
  const paint = () => whenPainted(() => image.current && queue.painted(card.sample));
  useLayoutEffect(() => {
    if (image.current?.complete && image.current.naturalWidth) paint();
  }, []);
  useLayoutEffect(() => {
    queue.picture = () => frame.current;
  });
  useEffect(() => setPlace({ scale: zoomed ? ZOOM : 1, x: 0, y: 0 }), [zoomed]);
  useEffect(() => {
    const zoom = (event) => {
      event.preventDefault(); // the panel would scroll
      const { left, top, width, height } = frame.current.getBoundingClientRect();
      const [dx, dy] = [event.clientX - left - width / 2, event.clientY - top - height / 2];
      setPlace((now) => {
        const next = Math.min(MOST_ZOOM, Math.max(1, now.scale * (event.deltaY < 0 ? 1.25 : 0.8)));
        const by = next / now.scale; // what is under the pointer stays there
        if (next === 1) return { scale: 1, x: 0, y: 0 };
        return { scale: next, x: dx - by * (dx - now.x), y: dy - by * (dy - now.y) };
      });
    };
    const place = frame.current;
    place.addEventListener("wheel", zoom, { passive: false });
    return () => place.removeEventListener("wheel", zoom);
  }, []);
  const onPointerDown = (event) => (drag.current = { at: [event.clientX, event.clientY], from: [x, y], moved: false });
  const onPointerMove = (event) => {
    if (!drag.current || !event.buttons) return;
    const [dx, dy] = [event.clientX - drag.current.at[0], event.clientY - drag.current.at[1]];
    if (Math.abs(dx) + Math.abs(dy) > 4) drag.current.moved = true;
    if (scale > 1) setPlace({ scale, x: drag.current.from[0] + dx, y: drag.current.from[1] + dy });
  };
  const onClick = () => {
    const isClick = !drag.current?.moved && scale === 1;
    if (isClick && !opened) window.__foo__.executeOperator("open_sample", { id: card.sample });
  };
  return h(
    Box,
    {
      ref: frame,
      sx: { height: HEIGHT, overflow: "hidden", background: "#8882", borderRadius: 1, touchAction: "none" },
      ...{ onPointerDown, onPointerMove, onClick },
      onDoubleClick: () => setPlace({ scale: 1, x: 0, y: 0 }),
    },
    h("img", {
      ref: image,
      src: pictureOf(card.filepath),
      alt: card.given ?? "",
      title: "The wheel zooms; a click opens the sample",
      draggable: false,
      onLoad: paint,
      onError: paint, // that it cannot be shown is on screen, too
      style: {
        ...{ width: "100%", height: "100%", objectFit: "contain", cursor: scale > 1 ? "grab" : "zoom-in" },
        transform: `translate(${x}px, ${y}px) scale(${scale})`,
      },
    })
  );
}
