/** The keyboard shortcuts, and the dialog that lists them. */

import { closeDetails } from "./details.js";
import { byId, isWriting, make } from "./dom.js";
import { closeControls, openControls, showPart } from "./layout.js";
import { model } from "./model.js";
import { focusMessage } from "./phones.js";
import { show, step } from "./selection.js";
import { onLanguage, say } from "./words.js";

const KEY = "wxbot.keys";
/** @type {(panel: string) => void} */
let showPanel = () => {};

const SINGLE = {
  "?": openHelp,
  "/": () => reach("panel-timeline", "search"),
  j: () => step(1),
  k: () => step(-1),
  m: () => (showPart("phones"), focusMessage()),
  n: () => (showPart("phones"), byId("new-user").focus()),
  t: () => reach("panel-timeline", "timeline"),
  l: () => reach("panel-lanes", "tab-lanes"),
  o: () => reach("panel-log", "log-text"),
  b: openControls,
};

const LISTED = [
  ["?"],
  ["Alt", "1…9"],
  ["j", "k"],
  ["m"],
  ["n"],
  ["t"],
  ["/"],
  ["l"],
  ["o"],
  ["b"],
  ["Esc"],
  ["↑", "↓", "Home", "End", "PgUp", "PgDn"],
  ["Enter"],
  ["Shift", "Enter"],
];

/** @param {(panel: string) => void} chooser shows one of the tabs of "what happened" */
export function startKeys(chooser) {
  showPanel = chooser;
  document.addEventListener("keydown", onKey);
  byId("help-open").addEventListener("click", openHelp);
  byId("help-close").addEventListener("click", () => byId("help").close());
  byId("single-keys").checked = isOn();
  byId("single-keys").addEventListener("change", (event) => localStorage.setItem(KEY, event.target.checked ? "on" : "off"));
  onLanguage(fill);
  fill();
}

/** Single keys can be turned off for users who dictate or press keys by accident. */
const isOn = () => localStorage.getItem(KEY) !== "off";

function onKey(event) {
  if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return onEscape(event);
  if (event.altKey && /^Digit[1-9]$/.test(event.code)) return onNumber(event);
  if (event.ctrlKey || event.metaKey || event.altKey || isWriting(event.target) || !isOn()) return;
  const act = SINGLE[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function onEscape(event) {
  if (event.target === byId("search") && event.target.value) return;
  if (closeControls(true) || closeDetails()) event.preventDefault();
  else if (isWriting(event.target)) event.target.blur();
}

function onNumber(event) {
  const name = [...model.users.keys()][Number(event.code.slice(5)) - 1];
  if (!name) return;
  event.preventDefault();
  show(name);
  focusMessage();
}

function reach(panel, id) {
  showPart("happened");
  showPanel(panel);
  byId(id).focus();
}

function openHelp() {
  byId("help").showModal();
}

function fill() {
  const rows = LISTED.map((keys) => {
    const names = keys.flatMap((key, index) => (index ? [" ", make("kbd", { text: key })] : [make("kbd", { text: key })]));
    return make("tr", {}, make("th", { scope: "row" }, ...names), make("td", { text: say(`keys.${keys.join("+")}`) }));
  });
  byId("help-keys").replaceChildren(...rows);
}
