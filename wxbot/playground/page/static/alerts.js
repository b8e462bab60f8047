/** Saying what went wrong, next to what was done, and in a word what went well. */

import { byId, make } from "./dom.js";
import { icon } from "./icons.js";
import { on } from "./model.js";
import { onSelection, selection } from "./selection.js";
import { say } from "./words.js";

const SECONDS_A_NOTE_STAYS = 4;

/**
 * Runs `work`; what it fails with appears within `place`, and stays until it works or is dismissed.
 * @param {HTMLElement|null} place null: at the foot of the page
 * @param {() => Promise<unknown>} work
 * @param {string} [done] what to say when it worked
 */
export async function attempt(place, work, done = "") {
  try {
    await work();
  } catch (error) {
    showError(place, error instanceof Error ? error.message : String(error));
    return false;
  }
  clearError(place);
  if (done) note(done);
  return true;
}

/** @param {HTMLElement|null} place */
export function showError(place, text) {
  clearError(place);
  const shown = make("p", { class: "error", role: "alert" }, icon("warning"), make("span", { text }), dismissButton());
  (place ?? byId("notes")).append(shown);
  shown.scrollIntoView?.({ block: "nearest" });
}

/** @param {HTMLElement|null} place */
export function clearError(place) {
  (place ?? byId("notes")).querySelectorAll(":scope > .error").forEach((shown) => shown.remove());
}

const remove = (selector) => document.querySelectorAll(selector).forEach((shown) => shown.remove());

/** What went wrong is of no use once it is over: in the next world, with another user, or when they went on. */
export function startAlerts() {
  let about = "";
  on("world", () => remove(".knob > .error, .notes > .error"));
  on("rows", (rows) => new Set(rows.filter((row) => row.bubble).map((row) => row.user)).forEach(forgetOf));
  onSelection(() => {
    if (selection.selected !== about) remove(".knob > .error, .errors > .error");
    about = selection.selected;
  });
}

function forgetOf(name) {
  remove(`.phone-card[data-user="${CSS.escape(name)}"] .errors > .error`);
  if (name === selection.selected) remove(".knob > .error");
}

function dismissButton() {
  const dismiss = (event) => event.currentTarget.closest(".error").remove();
  return make("button", { type: "button", class: "bare", sayLabel: "dismiss", on: { click: dismiss } }, icon("close"));
}

/** Says something good for a few seconds. */
export function note(text) {
  const shown = make("p", { class: "note", text });
  byId("notes-said").append(shown);
  setTimeout(() => shown.remove(), SECONDS_A_NOTE_STAYS * 1000);
}

/** A button that closes its dialog with an answer. */
function closing(answer, text, kind = "") {
  const close = (event) => event.currentTarget.closest("dialog").close(answer);
  return make("button", { type: "button", class: kind, text, on: { click: close } });
}

/** Asks before something that cannot be taken back. */
export function confirmed(title, text, yes) {
  const dialog = make(
    "dialog",
    { class: "question", "aria-labelledby": "question-title" },
    make("h2", { id: "question-title", text: title }),
    make("p", { text }),
    make("div", { class: "buttons" }, closing("no", say("cancel")), closing("yes", yes, "main")),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
