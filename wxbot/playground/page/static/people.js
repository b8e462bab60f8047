/** The list of users, with typing state and unread messages. */

import { attempt } from "./alerts.js";
import { avatar } from "./bubbles.js";
import { byId, make, setAttribute, setText } from "./dom.js";
import { describe, makeSmallGauges } from "./gauges.js";
import { icon } from "./icons.js";
import { isTyping, model, now, on, takeUsers } from "./model.js";
import { focusMessage } from "./phones.js";
import { post } from "./requests.js";
import { onSelection, selection, show, showBeside } from "./selection.js";
import { everyTick } from "./ticker.js";
import { onLanguage, say } from "./words.js";

/** @type {Map<string, Entry>} */
const entries = new Map();
/** @type {Map<string, number>} */
const unread = new Map();
/** The name of the user that the start button adds. */
const FIRST = "amy";
let hasFocused = false;
/** Only visible entries are updated every tick. */
const sight = new IntersectionObserver((changes) => {
  for (const change of changes) {
    const entry = entries.get(change.target.dataset.user);
    if (entry) entry.isSeen = change.isIntersecting;
  }
});

class Entry {
  constructor(name) {
    this.name = name;
    this.isSeen = true;
    this.gauges = makeSmallGauges();
    this.dots = make("span", { class: "typing-dots", "aria-hidden": "true" }, make("i"), make("i"), make("i"));
    this.mark = make("span", { class: "unread", "aria-hidden": "true", hidden: true });
    this.words = make("span", { class: "unseen", id: `person-${(Entry.count += 1)}` });
    this.button = make(
      "button",
      { type: "button", class: "person", "aria-describedby": this.words.id, on: { click: () => show(name) } },
      make("span", { class: "person-face" }, avatar("user", name), this.mark),
      make("span", { class: "person-words" }, make("span", { class: "person-name", text: name }), this.gauges.element),
      this.dots,
    );
    this.beside = make("button", { type: "button", class: "bare beside", on: { click: () => showBeside(name) } }, icon("beside"));
    this.element = make("li", { data: { user: name } }, this.button, this.words, this.beside);
    this.translate();
  }

  static count = 0;

  translate() {
    setAttribute(this.beside, "aria-label", say("people.beside", { name: this.name }));
    setAttribute(this.beside, "title", say("people.beside", { name: this.name }));
  }

  update(at) {
    const user = model.users.get(this.name);
    if (!user) return;
    const count = unread.get(this.name) ?? 0;
    this.gauges.update(user, at);
    setAttribute(this.element, "data-typing", String(isTyping(user, at)));
    setAttribute(this.element, "data-unread", String(count));
    this.mark.hidden = count === 0;
    setText(this.mark, count > 99 ? "99+" : String(count));
    setText(this.words, describe(user, at, count));
  }

  showSelection() {
    setAttribute(this.button, "aria-current", selection.selected === this.name ? "true" : null);
    this.element.classList.toggle("open", selection.open.includes(this.name));
    if (selection.selected === this.name) this.element.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

export function startPeople() {
  on("session", startAnew);
  on("users", (names) => names.forEach(refresh));
  on("rows", countUnread);
  onSelection(onShown);
  onLanguage(() => entries.forEach((entry) => (entry.translate(), entry.update(now()))));
  everyTick((at) => entries.forEach((entry) => entry.isSeen && entry.update(at)));
  byId("add-user").addEventListener("submit", onAdd);
  byId("begin").addEventListener("click", onBegin);
  byId("people").addEventListener("keydown", onKey);
}

/** Focuses the name field on an empty page. Later sessions leave the focus unchanged. */
function focusName() {
  if (hasFocused) return;
  hasFocused = true;
  if (!model.users.size && document.activeElement === document.body) byId("new-user").focus();
}

function startAnew() {
  entries.forEach((entry) => sight.unobserve(entry.element));
  entries.clear();
  unread.clear();
  byId("people").replaceChildren();
  model.users.forEach((_user, name) => refresh(name));
  showCount();
  focusName();
}

function refresh(name) {
  let entry = entries.get(name);
  if (!entry) {
    entry = new Entry(name);
    entries.set(name, entry);
    byId("people").append(entry.element);
    sight.observe(entry.element);
    entry.showSelection();
    showCount();
  }
  entry.update(now());
}

function showCount() {
  setText(byId("people-count"), entries.size ? String(entries.size) : "");
}

/** @param {import("./model.js").Row[]} rows */
function countUnread(rows) {
  const changed = new Set();
  for (const row of rows) {
    if (!row.bubble || row.bubble.side === "user" || row.at <= model.seenUntil || selection.open.includes(row.user)) continue;
    unread.set(row.user, (unread.get(row.user) ?? 0) + 1);
    changed.add(row.user);
  }
  changed.forEach((name) => entries.get(name)?.update(now()));
}

function onShown() {
  selection.open.forEach((name) => unread.delete(name));
  entries.forEach((entry) => {
    entry.showSelection();
    entry.update(now());
  });
}

async function onAdd(event) {
  event.preventDefault();
  const field = byId("new-user");
  const name = field.value.trim();
  if (!name) return field.focus();
  if (await attempt(byId("add-user"), () => add(name))) field.value = "";
}

/** Adds a first user with one click. A double click adds only one user. */
async function onBegin() {
  byId("begin").disabled = true;
  await attempt(byId("no-phone"), () => add(FIRST));
  byId("begin").disabled = false;
}

async function add(name) {
  const { user } = await post("/users", { name });
  takeUsers([user]);
  show(user.name);
  requestAnimationFrame(focusMessage);
}

/** Moves between the entries with the up and down keys; Tab still reaches each entry. */
function onKey(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const item = event.target.closest("li");
  if (!by || !item) return;
  event.preventDefault();
  const next = by > 0 ? item.nextElementSibling : item.previousElementSibling;
  next?.querySelector("button").focus();
}
