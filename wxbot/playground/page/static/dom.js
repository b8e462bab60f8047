/** Creates and finds elements. Data only ever becomes text or an attribute here, never markup. */

import { say } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

/** @returns {HTMLElement} */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * Creates an element. `text` is its text, `on` its listeners, `data` its data attributes. `say`, `sayLabel`, `sayTitle` and
 * `sayPlaceholder` are keys of words.js, which follow a change of the language. All other names are attributes: true means an
 * empty attribute; false, null and undefined mean none.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {any}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const TRANSLATED = ["say", "sayLabel", "sayTitle", "sayPlaceholder"];

function set(element, name, value) {
  if (name === "text") element.textContent = value;
  else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
  else if (name === "data") Object.assign(element.dataset, value);
  else if (TRANSLATED.includes(name)) {
    element.dataset[name] = value;
    translateOne(element);
  } else if (value === true) element.setAttribute(name, "");
  else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
}

/** Creates an SVG element. `text` is its text, all other names are attributes. */
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/** Sets the texts of the chosen language in every element below `root` that names a key. */
export function translate(root) {
  root.querySelectorAll("[data-say],[data-say-label],[data-say-title],[data-say-placeholder]").forEach(translateOne);
}

function translateOne(element) {
  const { say: text, sayLabel, sayTitle, sayPlaceholder } = element.dataset;
  if (text) element.textContent = say(text);
  if (sayLabel) element.setAttribute("aria-label", say(sayLabel));
  if (sayTitle) element.setAttribute("title", say(sayTitle));
  if (sayPlaceholder) element.setAttribute("placeholder", say(sayPlaceholder));
}

/** Sets the text only if it differs, so that ticking elements cost nothing while nothing changes. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows the text of a key, which follows a change of the language. */
export function sayOn(element, key) {
  element.dataset.say = key;
  setText(element, say(key));
}

/** Returns true if an element is on a visible tab. */
export const isShown = (id) => byId(id).offsetParent !== null;

/** Sets an attribute only if it differs; null removes it. */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** Creates a text for screen readers only. */
export function hidden(text, attributes = {}) {
  return make("span", { class: "unseen", text, ...attributes });
}

let ids = 0;

/** Returns a control with its label, bound by an id: inside a label, the options of a select would be part of its name. */
export function labelled(key, control, kind = "row-label") {
  control.id ||= `field-${(ids += 1)}`;
  return make("div", { class: kind }, make("label", { for: control.id, say: key }), control);
}

/** Returns true if the user is typing text there, so that single keys are not shortcuts. */
export function isWriting(target) {
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox],[type=radio],[type=button]), textarea, select, [contenteditable]");
}
