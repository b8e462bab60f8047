/** The timer of the page. Listeners are called four times a second and at the moment a deadline passes. */

import { now, users } from "./model.js";

const INTERVAL = 250;
/** @type {((at: number) => void)[]} */
const listeners = [];

/** @param {(at: number) => void} listener */
export function everyTick(listener) {
  listeners.push(listener);
}

export function startTicker() {
  setTimeout(() => requestAnimationFrame(tick), untilNext());
}

function tick() {
  const at = now();
  for (const listener of listeners) listener(at);
  startTicker();
}

/** Returns the time to the next tick, so that an indicator ends exactly at its deadline. */
function untilNext() {
  const at = now();
  let wait = INTERVAL;
  for (const user of users()) {
    for (const deadline of [user.typing_until, user.window_until]) {
      const left = deadline ? (deadline - at) * 1000 : -1;
      if (left > 0 && left < wait) wait = left;
    }
  }
  return wait;
}
