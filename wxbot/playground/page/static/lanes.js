/** The lanes of one user: window, indicator, processing and messages on one time axis. */

import { attempt } from "./alerts.js";
import { openDetails } from "./details.js";
import { byId, draw, isShown, make, setText } from "./dom.js";
import { model, now, on } from "./model.js";
import { get } from "./requests.js";
import { onSelection, selection } from "./selection.js";
import { clockText } from "./times.js";
import { everyTick } from "./ticker.js";
import { onLanguage, say } from "./words.js";

const ORDER = ["user", "window", "typing", "work", "reply", "refused"];
const LANE = 44;
const TOP = 26;
const LABELS = 96;
/** The share of the axis that shows the future, so that the end of a window is visible. */
const AHEAD = 0.15;
const MIN_FETCH_INTERVAL = 400;
const MAX_FETCH_INTERVAL = 3000;

const view = { seconds: /** @type {number|null} */ (60), back: 0 };
/** @type {{from: number, now: number, lanes: any[]}} */
let known = { from: 0, now: 0, lanes: [] };
let fetchedFor = "";
let fetchedAt = -Infinity;
let isStale = true;
let isFetching = false;
/** The clickable areas of the drawing. @type {{x: number, to: number, top: number, row: number}[]} */
let targets = [];

export function startLanes() {
  byId("zoom").addEventListener("change", (event) => {
    view.seconds = event.target.value === "all" ? null : Number(event.target.value);
    redraw();
  });
  byId("look-back").addEventListener("input", (event) => {
    view.back = -Number(event.target.value);
    redraw();
  });
  byId("lanes-drawing").addEventListener("click", onClick);
  onSelection(() => {
    isStale = true;
    refresh();
  });
  on("rows", (rows) => rows.some((row) => row.user === selection.selected) && (isStale = true));
  on("users", (names) => names.has(selection.selected) && (isStale = true));
  on("session", () => (isStale = true));
  onLanguage(() => {
    fillTable();
    redraw();
  });
  everyTick(show);
}

/** Called when the tab becomes visible. */
export function showLanes() {
  isStale = true;
  show();
}

function show() {
  if (!isShown("panel-lanes")) return;
  refresh();
  redraw();
}

async function refresh() {
  const since = performance.now() - fetchedAt;
  const name = selection.selected;
  const isDue = fetchedFor !== name || since > MAX_FETCH_INTERVAL || (isStale && since > MIN_FETCH_INTERVAL);
  if (!isShown("panel-lanes") || !name || isFetching || !isDue) return;
  isFetching = true;
  isStale = false;
  await attempt(byId("lanes-errors"), async () => {
    const answer = await get(`/lanes/${encodeURIComponent(name)}`);
    if (name === selection.selected) take(name, answer);
  });
  fetchedAt = performance.now();
  isFetching = false;
}

function take(name, answer) {
  const isChanged = fetchedFor !== name || JSON.stringify(answer.lanes) !== JSON.stringify(known.lanes);
  known = answer;
  fetchedFor = name;
  if (isChanged) fillTable();
  redraw();
}

const barsOf = (lane) => known.lanes.find((one) => one.lane === lane)?.bars ?? [];

// -- the drawing

function redraw() {
  const place = byId("lanes-drawing");
  const width = place.clientWidth;
  setText(byId("lanes-of"), selection.selected ? say("lanes.of", { name: selection.selected }) : say("lanes.nobody"));
  if (!width || !isShown("panel-lanes") || !selection.selected) return;
  const axis = axisFor(width);
  const height = TOP + ORDER.length * LANE + 4;
  targets = [];
  const drawing = draw("svg", { class: "lanes", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": summary() }, ...grid(axis, height));
  if (fetchedFor === selection.selected) ORDER.forEach((lane, index) => drawing.append(...drawLane(lane, TOP + index * LANE, axis)));
  drawing.append(...nowLine(axis, height), ...labels());
  place.replaceChildren(drawing);
}

function axisFor(width) {
  const at = now();
  const length = view.seconds ?? Math.max(10, (at - known.from) / (1 - AHEAD));
  const reach = byId("look-back");
  const furthest = view.seconds === null ? 0 : Math.max(0, Math.ceil(at - known.from - length * (1 - AHEAD)));
  if (Number(reach.min) !== -furthest) reach.min = String(-furthest);
  reach.disabled = furthest === 0;
  const to = at + length * AHEAD - Math.min(view.back, furthest);
  const from = to - length;
  const scale = (width - LABELS - 8) / length;
  return { at, from, to, length, width, x: (time) => LABELS + (Math.min(to, Math.max(from, time)) - from) * scale };
}

function grid(axis, height) {
  const step = stepFor(axis.length);
  const drawn = [];
  for (let time = Math.max(0, Math.ceil(axis.from / step) * step); time <= axis.to; time += step) {
    const x = axis.x(time);
    drawn.push(draw("line", { class: "tick", x1: x, x2: x, y1: TOP - 4, y2: height }));
    drawn.push(draw("text", { class: "tick-text", x, y: 14, "text-anchor": "middle", text: clockText(time, 0) }));
  }
  ORDER.forEach((_lane, index) => drawn.push(draw("line", { class: "lane-line", x1: 0, x2: axis.width, y1: TOP + index * LANE, y2: TOP + index * LANE })));
  return drawn;
}

function stepFor(length) {
  const wanted = length / 8;
  return [1, 2, 5, 10, 15, 30, 60, 300, 600, 1800, 3600, 6 * 3600, 12 * 3600, 24 * 3600].find((step) => step >= wanted) ?? 48 * 3600;
}

function nowLine(axis, height) {
  if (axis.at < axis.from || axis.at > axis.to) return [];
  const x = axis.x(axis.at);
  return [draw("line", { class: "now-line", x1: x, x2: x, y1: TOP - 6, y2: height }), draw("circle", { class: "now-dot", cx: x, cy: TOP - 6, r: 3 })];
}

function labels() {
  const ground = draw("rect", { class: "label-ground", x: 0, y: TOP, width: LABELS - 6, height: ORDER.length * LANE });
  return [ground, ...ORDER.map((lane, index) => draw("text", { class: "lane-label", x: 4, y: TOP + index * LANE + LANE / 2 + 4, text: say(`lane.${lane}`) }))];
}

function drawLane(lane, top, axis) {
  const drawn = [];
  const bars = barsOf(lane);
  bars.forEach((bar, index) => {
    const end = bar.to ?? Math.max(axis.at, deadlineOf(lane));
    if (end < axis.from || bar.from > axis.to) return;
    if (bar.to === bar.from) drawn.push(...moment(lane, bar, top, axis, bars[index + 1]));
    else drawn.push(...span(lane, bar, top, axis, end));
  });
  return drawn;
}

/** Returns the time at which the current period will end by itself, as far as the platform knows. */
function deadlineOf(lane) {
  const user = model.users.get(selection.selected);
  return { window: user?.window_until, typing: user?.typing_until }[lane] ?? -Infinity;
}

function span(lane, bar, top, axis, end) {
  const x = axis.x(bar.from);
  const passed = Math.max(x + 2, axis.x(Math.min(end, axis.at)));
  const last = Math.max(passed, axis.x(end));
  targets.push({ x, to: last, top, row: bar.n });
  const drawn = [draw("rect", { class: `bar of-${lane}`, x, y: top + 9, width: Math.max(2, passed - x), height: LANE - 18, rx: 4 })];
  // The future part is drawn hollow, because it is only expected.
  if (last > passed + 1) drawn.push(draw("rect", { class: `bar of-${lane} ahead`, x: passed, y: top + 9, width: last - passed, height: LANE - 18, rx: 4 }));
  // The now line is between the two parts, so the text goes into one of them.
  const at = fitting(bar.label, passed - x - 12) ? { x, room: passed - x - 12 } : { x: passed, room: last - passed - 12 };
  const words = fitting(bar.label, at.room);
  if (words) drawn.push(draw("text", { class: `bar-text of-${lane}`, x: at.x + 6, y: top + LANE / 2 + 4, text: words }));
  return drawn;
}

/** Draws a mark, and its text if there is room before the next mark. */
function moment(lane, bar, top, axis, next) {
  const x = axis.x(bar.from);
  const y = top + LANE / 2;
  const room = Math.min(next ? axis.x(next.from) - 8 : axis.width, axis.x(axis.at) + 6) - x - 12;
  targets.push({ x: x - 7, to: x + 7, top, row: bar.n });
  const drawn = [draw("path", { class: `moment of-${lane}`, d: SHAPES[lane]?.(x, y) ?? SHAPES.user(x, y) })];
  const words = fitting(bar.label, room);
  if (words) drawn.push(draw("text", { class: "moment-text", x: x + 9, y: y + 4, text: words }));
  return drawn;
}

/** Each kind of mark has its own shape, so that not only colour distinguishes them. */
const SHAPES = {
  user: (x, y) => `M${x} ${y - 6}l6 6-6 6-6-6z`,
  reply: (x, y) => `M${x - 6} ${y}a6 6 0 1 0 12 0a6 6 0 1 0-12 0z`,
  refused: (x, y) => `M${x - 5} ${y - 5}l10 10M${x + 5} ${y - 5}l-10 10`,
};

/** Returns the part of the text that fits into `room` pixels, or "" if it is too short to be useful. */
function fitting(text, room) {
  let shown = "";
  let width = 0;
  for (const letter of (text ?? "").replace(/\s+/g, " ")) {
    width += letter.charCodeAt(0) > 0x2e80 ? 12.5 : 7;
    if (width > room) return [...shown].length < 3 ? "" : `${[...shown].slice(0, -1).join("")}…`;
    shown += letter;
  }
  return shown;
}

function onClick(event) {
  const ground = byId("lanes-drawing").getBoundingClientRect();
  const x = event.clientX - ground.left;
  const y = event.clientY - ground.top;
  const hit = targets.findLast((target) => x >= target.x - 2 && x <= target.to + 2 && y >= target.top && y <= target.top + LANE);
  if (hit) openRow(hit.row);
}

function openRow(number) {
  const row = model.rows.find((one) => one.n === number);
  if (row) openDetails(row, () => byId("tab-lanes").focus());
}

// -- the same in words

function summary() {
  const counts = ORDER.map((lane) => `${say(`lane.${lane}`)}: ${barsOf(lane).length}`);
  return `${say("lanes.of", { name: selection.selected })}. ${counts.join(say("comma"))}`;
}

function fillTable() {
  const all = ORDER.flatMap((lane) => barsOf(lane).map((bar) => ({ lane, ...bar }))).sort((a, b) => a.from - b.from);
  byId("lanes-rows").replaceChildren(...all.slice(-500).map(tableRow));
}

function tableRow(bar) {
  const to = bar.to === bar.from ? "" : bar.to === null ? say("lanes.going") : clockText(bar.to);
  const open = make("button", { type: "button", class: "link", text: `#${bar.n}`, "aria-label": say("lanes.open", { n: bar.n }), on: { click: () => openRow(bar.n) } });
  return make("tr", { data: { lane: bar.lane } }, make("th", { scope: "row", text: say(`lane.${bar.lane}`) }), make("td", { text: clockText(bar.from) }), make("td", { text: to }), make("td", { text: bar.label ?? "" }), make("td", {}, bar.n === null || bar.n === undefined ? null : open));
}
