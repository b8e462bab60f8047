/** Shows errors beside the control that caused them, and short notes about success. */

import { byId, make } from "./dom.js";
import { icon } from "./icons.js";
import { on } from "./model.js";
import { onSelection, selection } from "./selection.js";
import { say } from "./words.js";

const SECONDS_A_NOTE_STAYS = 4;

/**
 * Runs `work`. An error appears within `place` and stays until `work` succeeds or the error is dismissed.
 * @param {HTMLElement|null} place null: at the foot of the page
 * @param {() => Promise<unknown>} work
 * @param {string} [done] the note to show on success
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

/** Removes errors that are no longer relevant: in a new session, with another user, or after the user has gone on. */
export function startAlerts() {
  let about = "";
  on("session", () => remove(".control > .error, .notes > .error"));
  on("rows", (rows) => new Set(rows.filter((row) => row.bubble).map((row) => row.user)).forEach(forgetOf));
  onSelection(() => {
    if (selection.selected !== about) remove(".control > .error, .errors > .error");
    about = selection.selected;
  });
}

function forgetOf(name) {
  remove(`.phone-card[data-user="${CSS.escape(name)}"] .errors > .error`);
  if (name === selection.selected) remove(".control > .error");
}

function dismissButton() {
  const dismiss = (event) => event.currentTarget.closest(".error").remove();
  return make("button", { type: "button", class: "bare", sayLabel: "dismiss", on: { click: dismiss } }, icon("close"));
}

/** Shows a note about success for a few seconds. */
export function note(text) {
  const shown = make("p", { class: "note", text });
  byId("notes-said").append(shown);
  setTimeout(() => shown.remove(), SECONDS_A_NOTE_STAYS * 1000);
}

/** Makes a button that closes its dialog with an answer. */
function closing(answer, text, kind = "") {
  const close = (event) => event.currentTarget.closest("dialog").close(answer);
  return make("button", { type: "button", class: kind, text, on: { click: close } });
}

/** Asks before an action that cannot be undone. */
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
