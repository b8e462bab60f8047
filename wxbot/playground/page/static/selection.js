/** The open phones, and the selected user. */

import { model, on } from "./model.js";

export const selection = { /** @type {string[]} */ open: [], selected: "", capacity: 1 };
const listeners = [];

export function onSelection(listener) {
  listeners.push(listener);
}

function notify() {
  for (const listener of listeners) listener();
}

/** Shows a user in the selected phone, or selects the user's phone if it is open. */
export function show(name) {
  if (!model.users.has(name)) return;
  const { open } = selection;
  if (!open.includes(name)) {
    const place = open.indexOf(selection.selected);
    if (place >= 0) open[place] = name;
    else open.push(name);
  }
  selection.selected = name;
  notify();
}

/** Opens another phone. If there is no room, it replaces the oldest phone that is not selected. */
export function showBeside(name) {
  if (!model.users.has(name)) return;
  const { open } = selection;
  if (!open.includes(name)) {
    while (open.length >= selection.capacity && open.length > 1) {
      open.splice(open.findIndex((other) => other !== selection.selected), 1);
    }
    if (open.length >= selection.capacity) open.length = 0;
    open.push(name);
  }
  selection.selected = name;
  notify();
}

export function close(name) {
  if (selection.open.length < 2) return;
  selection.open = selection.open.filter((other) => other !== name);
  if (selection.selected === name) selection.selected = selection.open[0];
  notify();
}

/** Sets the number of phones that fit. */
export function setCapacity(capacity) {
  if (capacity === selection.capacity) return;
  selection.capacity = capacity;
  while (selection.open.length > capacity) {
    selection.open.splice(selection.open.findLastIndex((name) => name !== selection.selected), 1);
  }
  notify();
}

/** Selects the user `by` places further in the list. */
export function step(by) {
  const names = [...model.users.keys()];
  if (!names.length) return;
  const at = names.indexOf(selection.selected);
  show(names[Math.min(names.length - 1, Math.max(0, at + by))]);
}

function keepExisting() {
  const open = selection.open.filter((name) => model.users.has(name));
  const selected = open.includes(selection.selected) ? selection.selected : (open[0] ?? "");
  const isSame = open.length === selection.open.length && selected === selection.selected;
  Object.assign(selection, { open, selected });
  const first = model.users.keys().next().value;
  if (!selected && first) show(first);
  else if (!isSame) notify();
}

export function startSelection() {
  on("session", keepExisting);
  on("users", keepExisting);
}
