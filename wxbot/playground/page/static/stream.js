/**
 * The server's events, and coming back when the line breaks. A page that nobody sees holds no line: browsers make six at
 * once to one server, and a few forgotten tabs would keep the one in sight from doing anything.
 */

import { model, take, takeLine, takeRows, takeTime, takeUsers, takeWorld } from "./model.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 8000;
/** So long a page that is looked at again may be without its line before it says so. */
const BLINK = 2000;

/** The line there is; null while nobody looks, and between two tries. @type {EventSource|null} */
let source = null;
let timer = 0;
let wait = FIRST_WAIT;
/** Whether the server was told which rows are known, and so may leave them out. */
let leavesOut = false;

export function startStream() {
  document.addEventListener("visibilitychange", fit);
  fit();
}

function fit() {
  if (document.visibilityState === "hidden") rest();
  else if (!source) connect();
}

function rest() {
  clearTimeout(timer);
  source?.close();
  source = null;
  if (model.line === "live") takeLine("resting");
}

function connect() {
  clearTimeout(timer);
  leavesOut = model.lastRow >= 0;
  const made = new EventSource(leavesOut ? `/events?after=${model.world}-${model.lastRow}` : "/events");
  source = made;
  made.addEventListener("open", () => (wait = FIRST_WAIT));
  made.addEventListener("error", () => made === source && onError(made));
  for (const [name, heard] of Object.entries(HEARD)) {
    made.addEventListener(name, (event) => made === source && heard(JSON.parse(event.data)));
  }
  if (model.line === "resting") timer = setTimeout(() => model.line === "resting" && takeLine("again"), BLINK);
}

const HEARD = {
  world: onWorld,
  time: takeTime,
  rows: (data) => {
    takeTime(data);
    takeUsers(data.users);
    takeRows(data.rows);
  },
  users: (data) => {
    takeTime(data);
    takeUsers(data.users);
  },
  knobs: (data) => {
    takeTime(data);
    take("knobs", data.knobs);
  },
  bot: (data) => take("bot", data),
  play: (data) => take("play", data),
};

/**
 * A server that was started anew counts its worlds from 1 again, and may take the row we told it for one of its own: if
 * it is another world than the one we knew, a line that names no row asks for everything.
 */
function onWorld(state) {
  const isOther = takeWorld(state);
  const lacks = isOther && leavesOut;
  leavesOut = false;
  takeLine("live");
  if (!lacks) return;
  source.close();
  connect();
}

function onError(broken) {
  clearTimeout(timer);
  leavesOut = true; // a browser that tries again by itself tells the last row it heard of
  if (model.line !== "first") takeLine("again");
  if (broken.readyState !== EventSource.CLOSED) return;
  source = null;
  timer = setTimeout(connect, wait);
  wait = Math.min(wait * 2, LONGEST_WAIT);
}
