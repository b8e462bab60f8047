/** The timeline: one line for each push and call. Only visible lines are elements, so that ten thousand rows cost little. */

import { openDetails } from "./details.js";
import { byId, make, setAttribute, setText } from "./dom.js";
import { GROUPS, groupOf, isProblem, matcher } from "./filters.js";
import { model, on } from "./model.js";
import { clockText, milliseconds } from "./times.js";
import { onLanguage, say } from "./words.js";

const HEIGHT = 30;
const MARGIN_ROWS = 10;
const COLUMNS = ["time", "user", "kind", "what", "result", "took"];

const filter = { user: "", groups: new Set(Object.keys(GROUPS)), problems: false, search: "" };
/** @type {import("./model.js").Row[]} the rows that match the filter */
let shown = [];
/** the number of rows that were filtered: a new filter and new rows may come in one frame */
let looked = 0;
let matches = matcher(filter);
/** @type {Map<number, HTMLElement>} the existing elements, by index in `shown` */
const lines = new Map();
let active = -1;
let follows = true;
let isAsked = false;
/** Whether to follow the newest rows again when the details are closed. */
let resumes = false;

export function startTimeline() {
  buildHead();
  buildGroups();
  const grid = byId("timeline");
  grid.addEventListener("scroll", onScroll, { passive: true });
  grid.addEventListener("keydown", onKey);
  grid.addEventListener("focus", () => active < 0 && shown.length && activate(follows ? shown.length - 1 : Math.max(0, firstInSight()), false));
  byId("timeline-body").addEventListener("click", onClick);
  byId("newest").addEventListener("click", toNewest);
  byId("search").addEventListener("input", () => setFilter({ search: byId("search").value }));
  byId("only-problems").addEventListener("click", onProblems);
  byId("by-user").addEventListener("change", () => setFilter({ user: byId("by-user").value }));
  new ResizeObserver(onResize).observe(grid);
  on("session", startAnew);
  on("rows", addRows);
  on("users", fillUsers);
  onLanguage(() => {
    buildHead();
    fillUsers();
    redraw();
  });
}

function buildHead() {
  byId("timeline-head").replaceChildren(...COLUMNS.map((name) => make("div", { role: "columnheader", class: `cell of-${name}`, say: `column.${name}` })));
}

function buildGroups() {
  const buttons = Object.keys(GROUPS).map((group) =>
    make("button", { type: "button", class: "toggle", "aria-pressed": "true", data: { group }, say: `group.${group}`, on: { click: onGroup } }),
  );
  byId("groups").replaceChildren(...buttons);
}

// -- the filter

function onGroup(event) {
  const button = event.currentTarget;
  const isOn = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(isOn));
  if (isOn) filter.groups.add(button.dataset.group);
  else filter.groups.delete(button.dataset.group);
  setFilter({});
}

function onProblems() {
  const problems = !filter.problems;
  byId("only-problems").setAttribute("aria-pressed", String(problems));
  setFilter({ problems });
}

function setFilter(change) {
  Object.assign(filter, change);
  matches = matcher(filter);
  shown = model.rows.filter(matches);
  looked = model.rows.length;
  active = -1;
  byId("timeline").removeAttribute("aria-activedescendant");
  redraw();
  if (follows) toNewest();
}

function startAnew() {
  filter.user = "";
  fillUsers();
  follows = true;
  byId("timeline").scrollTop = 0;
  setFilter({});
}

function fillUsers() {
  const select = byId("by-user");
  const names = ["", ...model.users.keys()];
  const isSame = select.options.length === names.length && names.every((name, index) => select.options[index].value === name);
  if (!isSame) select.replaceChildren(...names.map((name) => make("option", { value: name, text: name })));
  setText(select.options[0], say("filter.everybody"));
  select.value = filter.user;
}

// -- drawing

function addRows() {
  for (; looked < model.rows.length; looked += 1) if (matches(model.rows[looked])) shown.push(model.rows[looked]);
  arrange();
  if (follows) byId("timeline").scrollTop = shown.length * HEIGHT + HEIGHT;
  drawInSight();
}

function redraw() {
  for (const line of lines.values()) line.remove();
  lines.clear();
  arrange();
  drawInSight();
}

function arrange() {
  document.body.dataset.rows = String(model.rows.length);
  byId("timeline-body").style.height = `${shown.length * HEIGHT}px`;
  setAttribute(byId("timeline"), "aria-rowcount", shown.length + 1);
  setText(byId("row-count"), say("timeline.count", { shown: shown.length, all: model.rows.length }));
  byId("timeline-empty").hidden = shown.length > 0;
  setText(byId("timeline-empty"), say(model.rows.length ? "timeline.none" : "timeline.empty"));
}

function ask() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    drawInSight();
  });
}

/** Keeps the active row visible when the details take half of the room. */
function onResize() {
  if (!byId("timeline").clientHeight) return; // the tab is hidden
  if (follows) byId("timeline").scrollTop = shown.length * HEIGHT + HEIGHT;
  else if (active >= 0) scrollTo(active);
  ask();
}

function onScroll() {
  const grid = byId("timeline");
  if (!grid.clientHeight) return;
  follows = grid.scrollHeight - grid.scrollTop - grid.clientHeight < HEIGHT;
  ask();
}

const firstInSight = () => Math.floor(byId("timeline").scrollTop / HEIGHT);

function drawInSight() {
  const grid = byId("timeline");
  if (!grid.clientHeight) return; // the tab is hidden
  const from = Math.max(0, firstInSight() - MARGIN_ROWS);
  const to = Math.min(shown.length, firstInSight() + Math.ceil(grid.clientHeight / HEIGHT) + MARGIN_ROWS);
  for (const [place, line] of lines) {
    if ((place >= from && place < to) || place === active) continue;
    line.remove();
    lines.delete(place);
  }
  const added = document.createDocumentFragment();
  for (let place = from; place < to; place += 1) if (!lines.has(place)) added.append(lineAt(place));
  if (added.childElementCount) byId("timeline-body").append(added);
  byId("newest").hidden = follows;
}

function lineAt(place) {
  const row = shown[place];
  const problem = isProblem(row);
  const line = make("div", {
    role: "row",
    id: `row-${row.n}`,
    class: `row of-${groupOf(row.kind)}${problem ? " problem" : ""}`,
    "aria-rowindex": place + 2,
    "aria-selected": String(place === active),
    data: { row: row.n, kind: row.kind, user: row.user, place, problem: String(problem) },
  });
  line.style.transform = `translateY(${place * HEIGHT}px)`;
  line.append(...COLUMNS.map((name) => CELLS[name](row)));
  lines.set(place, line);
  return line;
}

const cell = (name, ...content) => make("div", { role: "gridcell", class: `cell of-${name}` }, ...content);

const CELLS = {
  time: (row) => cell("time", clockText(row.at, row.at < 3600 ? 2 : 0)),
  user: (row) => cell("user", row.user),
  kind: (row) => cell("kind", make("span", { class: "arrow", "aria-hidden": "true", text: ARROWS[row.kind] ?? "←" }), make("span", { class: "kind-name", text: say(`kind.${row.kind}`) })),
  what: (row) => cell("what", ...badges(row), make("span", { class: "what-text", text: row.what })),
  result: (row) => cell("result", ...resultOf(row)),
  took: (row) => cell("took", milliseconds(row.ms)),
};

const ARROWS = { user: "●", push: "→", notice: "!", agent: "●", control: "◆" };

function badges(row) {
  const made = [];
  const badge = (text, kind = "") => made.push(make("span", { class: `badge ${kind}`, text }));
  if (row.attempt > 1) badge(say("badge.attempt", { n: row.attempt }), "again");
  if (row.form && row.kind === "push") badge(row.form, "form");
  if (row.kind === "push" && row.encrypted !== null && row.encrypted !== undefined) badge(say(row.encrypted ? "badge.encrypted" : "badge.plaintext"), row.encrypted ? "encrypted" : "");
  if (row.fault) badge(say("badge.fault", { fault: row.fault }), "fault");
  if (row.needless) badge(say("badge.needless"), "bad");
  if (row.violation) badge(say("badge.violation"), "bad");
  return made;
}

function resultOf(row) {
  const text = row.errcode ? `${row.errcode} ${row.errmsg}`.trim() : row.outcome || (row.errcode === 0 ? "ok" : row.status ? `HTTP ${row.status}` : row.fault);
  if (!text) return [];
  const isRefused = Boolean(row.errcode) || (row.outcome && row.outcome !== "success") || text === row.fault;
  const mark = make("span", { class: isProblem(row) ? "bad" : "good", "aria-hidden": "true", text: isRefused ? "✗" : isProblem(row) ? "!" : "✓" });
  return [mark, make("span", { class: "result-text", text })];
}

// -- moving

function onClick(event) {
  const line = event.target.closest("[role=row]");
  if (!line) return;
  resumes ||= follows;
  activate(Number(line.dataset.place), false);
  open();
}

function onKey(event) {
  const page = Math.max(1, Math.floor(byId("timeline").clientHeight / HEIGHT) - 2);
  const goals = { ArrowDown: active + 1, ArrowUp: active - 1, Home: 0, End: shown.length - 1, PageDown: active + page, PageUp: active - page };
  if (event.key in goals && !event.altKey && !event.metaKey) {
    event.preventDefault();
    activate(Math.min(shown.length - 1, Math.max(0, goals[event.key])), true);
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    open();
  }
}

function activate(place, scrolls) {
  if (!shown.length) return;
  lines.get(active)?.setAttribute("aria-selected", "false");
  active = place;
  follows &&= place === shown.length - 1;
  if (scrolls) scrollTo(place);
  drawInSight();
  lines.get(place)?.setAttribute("aria-selected", "true");
  byId("timeline").setAttribute("aria-activedescendant", `row-${shown[place].n}`);
}

function scrollTo(place) {
  const grid = byId("timeline");
  const head = byId("timeline-head").offsetHeight;
  const top = place * HEIGHT;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + HEIGHT + head > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + HEIGHT + head - grid.clientHeight;
}

function toNewest() {
  follows = true;
  byId("timeline").scrollTop = shown.length * HEIGHT + HEIGHT;
  drawInSight();
}

function open() {
  if (!shown[active]) return;
  resumes ||= follows;
  follows = false; // the row must not move while its details are open
  openDetails(shown[active], onClosed);
}

function onClosed() {
  byId("timeline").focus({ preventScroll: true });
  resume();
}

function resume() {
  if (resumes) toNewest();
  resumes = false;
}

/** Draws the rows that arrived while the timeline was hidden. */
export function showTimeline() {
  if (byId("details").hidden) resume(); // the details may have been closed on another tab
  if (follows) toNewest();
  ask();
}
