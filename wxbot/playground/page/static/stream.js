/**
 * The event stream of the server, and reconnecting. A hidden page closes its connection: browsers allow six connections
 * to one server, and a few forgotten tabs would block the visible one.
 */

import { model, take, takeConnection, takeRows, takeTime, takeUsers, takeSession } from "./model.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 8000;
/** Milliseconds that a page may take to reconnect after it becomes visible, before it says so. */
const PAUSE_GRACE = 2000;

/** The open connection; null while the page is hidden and between two attempts. @type {EventSource|null} */
let source = null;
let timer = 0;
let wait = FIRST_WAIT;
/** Whether the request named the last known row, so that the server may omit earlier rows. */
let omitsKnownRows = false;

export function startStream() {
  document.addEventListener("visibilitychange", fit);
  fit();
}

function fit() {
  if (document.visibilityState === "hidden") pause();
  else if (!source) connect();
}

function pause() {
  clearTimeout(timer);
  source?.close();
  source = null;
  if (model.connection === "live") takeConnection("paused");
}

function connect() {
  clearTimeout(timer);
  omitsKnownRows = model.lastRow >= 0;
  const made = new EventSource(omitsKnownRows ? `/events?after=${model.session}-${model.lastRow}` : "/events");
  source = made;
  made.addEventListener("open", () => (wait = FIRST_WAIT));
  made.addEventListener("error", () => made === source && onError(made));
  for (const [name, handler] of Object.entries(HANDLERS)) {
    made.addEventListener(name, (event) => made === source && handler(JSON.parse(event.data)));
  }
  if (model.connection === "paused") timer = setTimeout(() => model.connection === "paused" && takeConnection("reconnecting"), PAUSE_GRACE);
}

const HANDLERS = {
  session: onSession,
  time: takeTime,
  rows: onChange,
  users: onChange,
  controls: onChange,
  bot: (data) => take("bot", data),
  play: (data) => take("play", data),
};

/** Handles an event with a time, and with users, rows or controls. */
function onChange({ now, users = [], rows = [], controls }) {
  takeTime({ now });
  takeUsers(users);
  if (rows.length) takeRows(rows);
  if (controls) take("controls", controls);
}

/**
 * Handles the state of a session. A restarted server counts its sessions from 1 again and may mistake our last row for one
 * of its own: after another session than before, reconnect without a row to get everything.
 */
function onSession(state) {
  const isOther = takeSession(state);
  const isIncomplete = isOther && omitsKnownRows;
  omitsKnownRows = false;
  takeConnection("live");
  if (!isIncomplete) return;
  source.close();
  connect();
}

function onError(failed) {
  clearTimeout(timer);
  omitsKnownRows = true; // a browser that reconnects by itself sends the id of its last event
  if (model.connection !== "connecting") takeConnection("reconnecting");
  if (failed.readyState !== EventSource.CLOSED) return;
  source = null;
  timer = setTimeout(connect, wait);
  wait = Math.min(wait * 2, LONGEST_WAIT);
}
