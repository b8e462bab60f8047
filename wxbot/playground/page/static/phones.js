/** The open phones, side by side. */

import { byId } from "./dom.js";
import { on } from "./model.js";
import { Phone } from "./phone.js";
import { onSelection, selection } from "./selection.js";
import { everyTick } from "./ticker.js";
import { onLanguage } from "./words.js";

/** @type {Map<string, Phone>} */
const phones = new Map();
/** Unsent texts. They remain when a phone is closed, and are dropped with the session. @type {Map<string, string>} */
let drafts = new Map();

export function startPhones() {
  onSelection(arrange);
  on("session", startAnew);
  on("rows", onRows);
  on("users", (names) => names.forEach((name) => phones.get(name)?.showState()));
  everyTick((at) => phones.forEach((phone) => phone.tick(at)));
  onLanguage(() => phones.forEach((phone) => phone.redraw()));
}

function arrange() {
  for (const [name, phone] of phones) {
    if (selection.open.includes(name)) continue;
    phone.element.remove();
    phones.delete(name);
  }
  const place = byId("phones");
  selection.open.forEach((name, index) => {
    if (!phones.has(name)) phones.set(name, new Phone(name, drafts));
    const { element } = phones.get(name);
    if (place.children[index] !== element) place.insertBefore(element, place.children[index] ?? null);
  });
  phones.forEach((phone) => {
    phone.showState();
    phone.fit();
    if (phone.element.isConnected && phone.followed) phone.toEnd();
  });
  byId("no-phone").hidden = selection.open.length > 0;
  place.dataset.open = String(selection.open.length);
}

function startAnew() {
  phones.forEach((phone) => phone.element.remove());
  phones.clear();
  drafts = new Map();
  arrange();
}

/** @param {import("./model.js").Row[]} rows */
function onRows(rows) {
  const changed = new Set(rows.map((row) => row.user));
  phones.forEach((phone, name) => changed.has(name) && phone.addMessages());
}

/** Focuses the message field of the selected user. */
export function focusMessage() {
  phones.get(selection.selected)?.field.focus();
}
