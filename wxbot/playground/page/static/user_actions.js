/** The actions of a user other than text: the panel behind the plus button, according to the kind of account. */

import { labelled, make } from "./dom.js";
import { icon } from "./icons.js";
import { model } from "./model.js";
import { showError } from "./alerts.js";
import { say } from "./words.js";

const PICTURES = "image/jpeg,image/png,image/gif";
const MINI = ["miniprogram"];
const OFFICIAL = ["official", "unverified"];
const BOTH = [...MINI, ...OFFICIAL];

/**
 * `fields`: the fields to ask for; without them the action is sent at once. A field with a number as default is a number, and
 * `json` is parsed. `when`: only for followers, or only for non-followers (style.css hides the others). `hints`: placeholders.
 * @type {{action: string, kinds: string[], icon: any, fields?: Record<string, any>, optional?: string[], when?: string, hints?: Record<string, string>}[]}
 */
const USER_ACTIONS = [
  { action: "picture", kinds: BOTH, icon: "picture" },
  { action: "enters", kinds: MINI, icon: "enter", fields: { session_from: "pages/index" }, optional: ["session_from"] },
  { action: "card", kinds: MINI, icon: "card", fields: { title: "Order 42", page_path: "pages/order?id=42" } },
  { action: "clicks", kinds: OFFICIAL, icon: "menu", fields: { key: "menu-1" } },
  { action: "views", kinds: OFFICIAL, icon: "view", fields: { url: "https://example.com/" } },
  { action: "link", kinds: OFFICIAL, icon: "link", fields: { title: "An article", description: "What it is about", url: "https://example.com/article" }, optional: ["description"] },
  { action: "location", kinds: OFFICIAL, icon: "place", fields: { latitude: 39.9087, longitude: 116.3975, label: "北京市东城区天安门" }, optional: ["label"] },
  { action: "voice", kinds: OFFICIAL, icon: "voice" },
  { action: "video", kinds: OFFICIAL, icon: "video" },
  { action: "follows", kinds: OFFICIAL, icon: "follow", fields: { scene: "" }, optional: ["scene"], when: "strange" },
  { action: "scans", kinds: OFFICIAL, icon: "scan", fields: { scene: "42" }, when: "follows" },
  { action: "leaves", kinds: OFFICIAL, icon: "leave", when: "follows" },
  { action: "event", kinds: MINI, icon: "event", fields: { event: "", fields: { json: "{}" } }, hints: { event: "user_enter_tempsession" } },
  { action: "event", kinds: OFFICIAL, icon: "event", fields: { event: "view_miniprogram", fields: { json: '{"EventKey": "pages/index"}' } } },
];

/** @param {import("./phone.js").Phone} phone */
export function makePanel(phone) {
  const panel = make("div", { class: "actions", role: "group", "aria-label": say("actions.of", { name: phone.name }) });
  const allowed = USER_ACTIONS.filter((action) => action.kinds.includes(model.account.kind));
  panel.append(...allowed.map((action) => (action.action === "picture" ? pictureTile(phone) : tile(action, phone, panel))));
  panel.addEventListener("keydown", (event) => event.key === "Escape" && phone.closePanel());
  return panel;
}

const face = (name, key) => [make("span", { class: "tile-face" }, icon(name)), make("span", { say: key })];

function tile(action, phone, panel) {
  const act = () => (action.fields ? ask(action, phone, panel) : phone.does({ action: action.action }));
  return make("button", { type: "button", class: "tile", data: { when: action.when ?? "always" }, on: { click: act } }, ...face(action.icon, `action.${action.action}`));
}

function pictureTile(phone) {
  const file = make("input", { type: "file", accept: PICTURES, multiple: true, class: "unseen", tabindex: -1, "aria-hidden": "true" });
  file.addEventListener("change", () => {
    [...file.files].forEach((picture) => phone.sendsPicture(picture));
    file.value = "";
  });
  const button = make("button", { type: "button", class: "tile", on: { click: () => file.click() } }, ...face("picture", "action.picture"));
  return make("div", { class: "tile-holder" }, button, file);
}

function ask(action, phone, panel) {
  const inputs = Object.entries(action.fields).map(([name, start]) => field(action, name, start));
  const form = make("form", { class: "action-form", sayLabel: `action.${action.action}` }, make("p", { class: "action-title", say: `action.${action.action}` }), ...inputs.map((input) => input.element));
  form.append(make("div", { class: "buttons" }, make("button", { type: "button", say: "back", on: { click: () => phone.openPanel(true) } }), make("button", { class: "main", say: `action.do` })));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = bodyOf(action, inputs, phone);
    if (body && (await phone.does(body))) phone.openPanel(true);
  });
  panel.replaceChildren(form);
  form.querySelector("input, textarea").focus();
  form.querySelector("input, textarea").select();
}

function field(action, name, start) {
  const isJson = typeof start === "object";
  const isNumber = typeof start === "number";
  const input = isJson ? make("textarea", { rows: 3, spellcheck: "false" }) : make("input", isNumber ? { type: "number", step: "any" } : { type: "text" });
  input.value = isJson ? start.json : String(start);
  if (action.hints?.[name]) input.placeholder = action.hints[name];
  input.required = !isJson && !action.optional?.includes(name);
  return { name, isJson, isNumber, input, element: labelled(`field.${name}`, input, "action-field") };
}

function bodyOf(action, inputs, phone) {
  const body = { action: action.action };
  for (const { name, isJson, isNumber, input } of inputs) {
    const value = isJson ? parsed(input.value) : isNumber ? Number(input.value) : input.value;
    if (value === undefined) return showError(phone.errors, say("error.json"));
    body[name] = value;
  }
  return body;
}

/** Parses a JSON object. Returns undefined for anything else. */
function parsed(text) {
  try {
    const value = JSON.parse(text.trim() || "{}");
    return value && typeof value === "object" && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
