/** What a user can do besides writing: the panel behind the plus, with what the kind of account knows. */

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
 * `fields`: what to ask first; none: it is done at once. A field that starts as a number is one, and `json` is parsed.
 * `when`: only while the user follows, or only while they do not (style.css hides it otherwise). `hints`: placeholders.
 * @type {{deed: string, kinds: string[], icon: any, fields?: Record<string, any>, optional?: string[], when?: string, hints?: Record<string, string>}[]}
 */
const USER_ACTIONS = [
  { deed: "picture", kinds: BOTH, icon: "picture" },
  { deed: "enters", kinds: MINI, icon: "enter", fields: { session_from: "pages/index" }, optional: ["session_from"] },
  { deed: "card", kinds: MINI, icon: "card", fields: { title: "Order 42", page_path: "pages/order?id=42" } },
  { deed: "clicks", kinds: OFFICIAL, icon: "menu", fields: { key: "menu-1" } },
  { deed: "views", kinds: OFFICIAL, icon: "view", fields: { url: "https://example.com/" } },
  { deed: "link", kinds: OFFICIAL, icon: "link", fields: { title: "An article", description: "What it is about", url: "https://example.com/article" }, optional: ["description"] },
  { deed: "location", kinds: OFFICIAL, icon: "place", fields: { latitude: 39.9087, longitude: 116.3975, label: "北京市东城区天安门" }, optional: ["label"] },
  { deed: "voice", kinds: OFFICIAL, icon: "voice" },
  { deed: "video", kinds: OFFICIAL, icon: "video" },
  { deed: "follows", kinds: OFFICIAL, icon: "follow", fields: { scene: "" }, optional: ["scene"], when: "strange" },
  { deed: "scans", kinds: OFFICIAL, icon: "scan", fields: { scene: "42" }, when: "follows" },
  { deed: "leaves", kinds: OFFICIAL, icon: "leave", when: "follows" },
  { deed: "event", kinds: MINI, icon: "event", fields: { event: "", fields: { json: "{}" } }, hints: { event: "user_enter_tempsession" } },
  { deed: "event", kinds: OFFICIAL, icon: "event", fields: { event: "view_miniprogram", fields: { json: '{"EventKey": "pages/index"}' } } },
];

/** @param {import("./phone.js").Phone} phone */
export function makePanel(phone) {
  const panel = make("div", { class: "deeds", role: "group", "aria-label": say("deeds.of", { name: phone.name }) });
  const allowed = USER_ACTIONS.filter((deed) => deed.kinds.includes(model.account.kind));
  panel.append(...allowed.map((deed) => (deed.deed === "picture" ? pictureTile(phone) : tile(deed, phone, panel))));
  panel.addEventListener("keydown", (event) => event.key === "Escape" && phone.closePanel());
  return panel;
}

const face = (name, key) => [make("span", { class: "tile-face" }, icon(name)), make("span", { say: key })];

function tile(deed, phone, panel) {
  const act = () => (deed.fields ? ask(deed, phone, panel) : phone.does({ deed: deed.deed }));
  return make("button", { type: "button", class: "tile", data: { when: deed.when ?? "always" }, on: { click: act } }, ...face(deed.icon, `deed.${deed.deed}`));
}

function pictureTile(phone) {
  const file = make("input", { type: "file", accept: PICTURES, multiple: true, class: "unseen", tabindex: -1, "aria-hidden": "true" });
  file.addEventListener("change", () => {
    [...file.files].forEach((picture) => phone.sendsPicture(picture));
    file.value = "";
  });
  const button = make("button", { type: "button", class: "tile", on: { click: () => file.click() } }, ...face("picture", "deed.picture"));
  return make("div", { class: "tile-holder" }, button, file);
}

function ask(deed, phone, panel) {
  const inputs = Object.entries(deed.fields).map(([name, start]) => field(deed, name, start));
  const form = make("form", { class: "deed-form", sayLabel: `deed.${deed.deed}` }, make("p", { class: "deed-title", say: `deed.${deed.deed}` }), ...inputs.map((input) => input.element));
  form.append(make("div", { class: "buttons" }, make("button", { type: "button", say: "back", on: { click: () => phone.openPanel(true) } }), make("button", { class: "main", say: `deed.do` })));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = bodyOf(deed, inputs, phone);
    if (body && (await phone.does(body))) phone.openPanel(true);
  });
  panel.replaceChildren(form);
  form.querySelector("input, textarea").focus();
  form.querySelector("input, textarea").select();
}

function field(deed, name, start) {
  const isJson = typeof start === "object";
  const isNumber = typeof start === "number";
  const input = isJson ? make("textarea", { rows: 3, spellcheck: "false" }) : make("input", isNumber ? { type: "number", step: "any" } : { type: "text" });
  input.value = isJson ? start.json : String(start);
  if (deed.hints?.[name]) input.placeholder = deed.hints[name];
  input.required = !isJson && !deed.optional?.includes(name);
  return { name, isJson, isNumber, input, element: labelled(`field.${name}`, input, "deed-field") };
}

function bodyOf(deed, inputs, phone) {
  const body = { deed: deed.deed };
  for (const { name, isJson, isNumber, input } of inputs) {
    const value = isJson ? parsed(input.value) : isNumber ? Number(input.value) : input.value;
    if (value === undefined) return showError(phone.errors, say("error.json"));
    body[name] = value;
  }
  return body;
}

/** An object, or undefined for anything else. */
function parsed(text) {
  try {
    const value = JSON.parse(text.trim() || "{}");
    return value && typeof value === "object" && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
