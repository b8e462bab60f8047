/** The details of one row: the raw messages, the decrypted content, and the facts about it. */

import { attempt, showError } from "./alerts.js";
import { byId, make, setText } from "./dom.js";
import { isProblem } from "./filters.js";
import { icon } from "./icons.js";
import { dateOf, model, on } from "./model.js";
import { get, post } from "./requests.js";
import { show } from "./selection.js";
import { clockText, milliseconds } from "./times.js";
import { onLanguage, say } from "./words.js";

/** @type {import("./model.js").Row|null} */
let opened = null;
let whenClosed = () => {};
/** @type {any} */
let shown = null;

export function startDetails() {
  byId("details-close").addEventListener("click", closeDetails);
  on("session", () => opened && closeDetails());
  onLanguage(() => opened && fill(opened, shown));
}

/** @param {import("./model.js").Row} row @param {() => void} closed called when the details are closed, to restore the focus */
export async function openDetails(row, closed) {
  opened = row;
  shown = null;
  whenClosed = closed;
  byId("details").hidden = false;
  byId("details").dataset.row = String(row.n);
  fill(row, null);
  byId("details-title").focus({ preventScroll: true });
  byId("details").scrollIntoView?.({ block: "nearest" });
  if (row.has_details) await load(row);
}

export function closeDetails() {
  if (byId("details").hidden) return false;
  byId("details").hidden = true;
  opened = null;
  whenClosed();
  return true;
}

async function load(row) {
  const place = byId("details-body");
  place.setAttribute("aria-busy", "true");
  try {
    const answer = await get(`/rows/${row.n}?session=${model.session}`);
    if (opened !== row) return;
    shown = answer;
    fill(row, shown);
  } catch (error) {
    if (opened === row) showError(place, error.message);
  } finally {
    place.removeAttribute("aria-busy");
  }
}

function fill(row, all) {
  setText(byId("details-title"), `#${row.n} ${say(`kind.${row.kind}`)}${row.what ? ` · ${row.what}` : ""}`);
  const parts = [facts(row), actionsOf(row)];
  if (all) parts.push(...sidesOf(all));
  else if (row.has_details) parts.push(make("p", { class: "why", text: say("details.loading") }));
  else parts.push(make("p", { class: "why", text: say("details.nothing") }));
  byId("details-body").replaceChildren(...parts);
}

function facts(row) {
  const list = make("dl", { class: "facts" });
  const fact = (key, value) => value !== "" && value !== null && value !== undefined && list.append(make("div", {}, make("dt", { text: say(key) }), make("dd", { text: String(value) })));
  fact("fact.at", `${clockText(row.at, 3)} · ${dateOf(row.at).toLocaleTimeString()}`);
  fact("fact.user", row.user);
  fact("fact.path", row.path);
  fact("fact.errcode", row.errcode === null || row.errcode === undefined ? "" : `${row.errcode} ${row.errmsg}`.trim());
  fact("fact.outcome", [row.outcome, row.status ? `HTTP ${row.status}` : ""].filter(Boolean).join(" · "));
  fact("fact.attempt", row.attempt || "");
  fact("fact.form", [row.form, row.encrypted === null || row.encrypted === undefined ? "" : say(row.encrypted ? "badge.encrypted" : "badge.plaintext")].filter(Boolean).join(" · "));
  fact("fact.took", milliseconds(row.ms));
  fact("fact.fault", row.fault);
  if (row.violation) fact("fact.judgement", say("fact.violation"));
  else if (row.needless) fact("fact.judgement", say("fact.needless"));
  else if (isProblem(row) && row.fault) fact("fact.judgement", say("fact.ordered"));
  return list;
}

function actionsOf(row) {
  const place = make("div", { class: "buttons left" });
  const redeliver = () => attempt(place, () => post("/redeliver", { row: row.n }), say("done.redelivered"));
  if (row.kind === "push") place.append(make("button", { type: "button", say: "redeliver.this", on: { click: redeliver } }));
  if (row.user && model.users.has(row.user)) place.append(make("button", { type: "button", text: say("details.show", { name: row.user }), on: { click: () => show(row.user) } }));
  return place;
}

function sidesOf(all) {
  const outward = all.row?.kind === "push";
  const parts = [];
  if (all.plaintext) parts.push(block("details.plaintext", all.plaintext));
  if (all.request) parts.push(side(outward ? "details.push" : "details.call", all.request));
  if (all.response_plaintext) parts.push(block("details.response.plaintext", all.response_plaintext));
  if (all.response) parts.push(side(outward ? "details.push.response" : "details.call.response", all.response));
  if (all.fields && Object.keys(all.fields).length) parts.push(fieldsTable(all.fields));
  return parts;
}

function block(key, text, after = null) {
  return make("section", { class: "wire" }, make("div", { class: "wire-head" }, make("h4", { text: say(key) }), copyButton(text)), raw(text, say(key)), after);
}

/** A scrollable region, which must be reachable by keyboard. */
const raw = (text, label) => make("pre", { class: "raw", tabindex: 0, role: "group", "aria-label": label, text });

function side(key, message) {
  const headers = message.headers?.map(([name, value]) => `${name}: ${value}`).join("\n") ?? "";
  const body = message.binary ? `${say("details.binary", { bytes: message.bytes })}\n${message.body}` : message.body;
  const text = `${message.line}\n${headers}${headers ? "\n" : ""}\n${body}`;
  const size = make("p", { class: "why", text: say(message.cut ? "details.cut" : "details.bytes", { bytes: message.bytes }) });
  return block(key, text, size);
}

function fieldsTable(fields) {
  const rows = Object.entries(fields).map(([name, value]) => make("tr", {}, make("th", { scope: "row", text: name }), make("td", { text: typeof value === "object" ? JSON.stringify(value, null, 1) : String(value) })));
  return make("section", { class: "wire" }, make("div", { class: "wire-head" }, make("h4", { text: say("details.fields") })), make("table", { class: "fields", "aria-label": say("details.fields") }, make("tbody", {}, ...rows)));
}

function copyButton(text) {
  const copy = async () => attempt(byId("details-body"), () => navigator.clipboard.writeText(text), say("done.copied"));
  return make("button", { type: "button", class: "bare", "aria-label": say("copy"), title: say("copy"), on: { click: copy } }, icon("copy"));
}

