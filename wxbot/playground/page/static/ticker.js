/** The page's one timer. Everything that counts down is told four times a second, and at the moment a deadline passes. */

import { now, users } from "./model.js";

const BEAT = 250;
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

/** An indicator must go out when it goes out, and not up to a beat later. */
function untilNext() {
  const at = now();
  let wait = BEAT;
  for (const user of users()) {
    for (const deadline of [user.typing_until, user.window_until]) {
      const left = deadline ? (deadline - at) * 1000 : -1;
      if (left > 0 && left < wait) wait = left;
    }
  }
  return wait;
}
