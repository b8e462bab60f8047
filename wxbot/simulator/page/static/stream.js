/** The server's events, and coming back when the line breaks. */

import { take, takeLive, takeRows, takeTime, takeUsers, takeWorld } from "./model.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 8000;

let wait = FIRST_WAIT;
let began = 0;

export function startStream() {
  began = 0;
  connect();
}

function connect() {
  const source = new EventSource("/events");
  source.addEventListener("open", () => (wait = FIRST_WAIT));
  source.addEventListener("error", () => onError(source));
  const hear = (name, heard) => source.addEventListener(name, (event) => heard(JSON.parse(event.data), source));
  hear("world", onWorld);
  hear("rows", (data) => {
    takeTime(data);
    takeUsers(data.users);
    takeRows(data.rows);
  });
  hear("users", (data) => {
    takeTime(data);
    takeUsers(data.users);
  });
  hear("knobs", (data) => {
    takeTime(data);
    take("knobs", data.knobs);
  });
  hear("bot", (data) => take("bot", data));
  hear("play", (data) => take("play", data));
}

function onWorld(state, source) {
  const isFirstHere = source.worlds === undefined;
  source.worlds = (source.worlds ?? 0) + 1;
  const isRestarted = source.wasLost && began && Math.abs(state.began - began) > 0.001;
  source.wasLost = false;
  began = state.began;
  takeWorld(state);
  takeLive(true);
  // A server that was started anew counts its worlds from 1 again, and may take our Last-Event-ID for one of its own
  // rows: a fresh EventSource asks for everything.
  if (isRestarted && !isFirstHere) {
    source.close();
    connect();
  }
}

function onError(source) {
  source.wasLost = true;
  takeLive(false);
  if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
  setTimeout(connect, wait);
  wait = Math.min(wait * 2, LONGEST_WAIT);
}
