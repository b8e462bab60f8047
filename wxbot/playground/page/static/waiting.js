/** Controls that must wait while the bot starts or a transcript is replayed. They explain the reason instead of failing. */

import { note } from "./alerts.js";
import { byId, setAttribute, setText } from "./dom.js";
import { model, on } from "./model.js";
import { onLanguage, say } from "./words.js";

/** @type {HTMLElement[]} */
const controls = [];

export function startWaiting() {
  for (const topic of ["bot", "play", "session"]) on(topic, refresh);
  onLanguage(refresh);
  refresh();
}

/**
 * Makes a button or radio button wait. It is not disabled, because that would take the focus from it, for example when a
 * change of the mode restarts the bot.
 * @param {HTMLElement} control
 */
export function waits(control) {
  controls.push(control);
  control.addEventListener("click", onClick, { capture: true });
}

function onClick(event) {
  if (!reason()) return;
  event.preventDefault(); // for a radio button this also rejects arrow keys
  event.stopImmediatePropagation();
  note(reason());
}

function reason() {
  if (model.play?.state === "playing") return say("wait.playing");
  return model.bot.state === "starting" ? say("wait.starting") : "";
}

function refresh() {
  const why = reason();
  setText(byId("wait-reason"), why);
  for (const control of controls) {
    setAttribute(control, "aria-disabled", why ? "true" : null);
    setAttribute(control, "aria-describedby", why ? "wait-reason" : null);
    setAttribute(control, "title", why || null);
  }
}
