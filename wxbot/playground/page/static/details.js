/** One row in full: what went over the wire, what it says decrypted, and the facts about it. */

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
let told = null;

export function startDetails() {
  byId("details-close").addEventListener("click", closeDetails);
  on("world", () => opened && closeDetails());
  onLanguage(() => opened && fill(opened, told));
}

/** @param {import("./model.js").Row} row @param {() => void} closed what to do when it is closed again: gives the focus back */
export async function openDetails(row, closed) {
  opened = row;
  told = null;
  whenClosed = closed;
  byId("details").hidden = false;
  byId("details").dataset.row = String(row.n);
  fill(row, null);
  byId("details-title").focus({ preventScroll: true });
  byId("details").scrollIntoView?.({ block: "nearest" });
  if (row.opens) await load(row);
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
    const answer = await get(`/rows/${row.n}?world=${model.world}`);
    if (opened !== row) return;
    told = answer;
    fill(row, told);
  } catch (error) {
    if (opened === row) showError(place, error.message);
  } finally {
    place.removeAttribute("aria-busy");
  }
}

function fill(row, all) {
  setText(byId("details-title"), `#${row.n} ${say(`kind.${row.kind}`)}${row.what ? ` · ${row.what}` : ""}`);
  const parts = [facts(row), deedsOf(row)];
  if (all) parts.push(...sidesOf(all));
  else if (row.opens) parts.push(make("p", { class: "why", text: say("details.loading") }));
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
  fact("fact.form", [row.form, row.sealed === null || row.sealed === undefined ? "" : say(row.sealed ? "badge.sealed" : "badge.clear")].filter(Boolean).join(" · "));
  fact("fact.took", milliseconds(row.ms));
  fact("fact.fault", row.fault);
  if (row.violation) fact("fact.judgement", say("fact.violation"));
  else if (row.needless) fact("fact.judgement", say("fact.needless"));
  else if (isProblem(row) && row.fault) fact("fact.judgement", say("fact.ordered"));
  return list;
}

function deedsOf(row) {
  const place = make("div", { class: "buttons left" });
  const redeliver = () => attempt(place, () => post("/redeliver", { row: row.n }), say("done.redelivered"));
  if (row.kind === "push") place.append(make("button", { type: "button", say: "redeliver.this", on: { click: redeliver } }));
  if (row.user && model.users.has(row.user)) place.append(make("button", { type: "button", text: say("details.show", { name: row.user }), on: { click: () => show(row.user) } }));
  return place;
}

function sidesOf(all) {
  const outward = all.row?.kind === "push";
  const parts = [];
  if (all.clear) parts.push(block("details.clear", all.clear));
  if (all.request) parts.push(side(outward ? "details.push" : "details.call", all.request));
  if (all.answer_clear) parts.push(block("details.answer.clear", all.answer_clear));
  if (all.answer) parts.push(side(outward ? "details.push.answer" : "details.call.answer", all.answer));
  if (all.fields && Object.keys(all.fields).length) parts.push(fieldsTable(all.fields));
  return parts;
}

function block(key, text, after = null) {
  return make("section", { class: "wire" }, make("div", { class: "wire-head" }, make("h4", { text: say(key) }), copyButton(text)), raw(text, say(key)), after);
}

/** A region that scrolls must be reachable by keyboard. */
const raw = (text, label) => make("pre", { class: "raw", tabindex: 0, role: "group", "aria-label": label, text });

function side(key, told) {
  const headers = told.headers?.map(([name, value]) => `${name}: ${value}`).join("\n") ?? "";
  const body = told.binary ? `${say("details.binary", { bytes: told.bytes })}\n${told.body}` : told.body;
  const text = `${told.line}\n${headers}${headers ? "\n" : ""}\n${body}`;
  const size = make("p", { class: "why", text: say(told.cut ? "details.cut" : "details.bytes", { bytes: told.bytes }) });
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

