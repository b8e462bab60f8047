/** Injects faults, and lists the active faults. */

import { attempt } from "./alerts.js";
import { labelled, make } from "./dom.js";
import { model } from "./model.js";
import { post } from "./requests.js";
import { say } from "./words.js";

const ENDPOINTS = ["typing", "send", "token", "upload", "download"];
const KINDS = ["fail", "http", "drop", "slow", "hang"];
/** The kinds of faults that can happen after the platform has performed the call. */
const AFTER_THE_ACTION = ["http", "drop", "hang"];

export function makeFaults() {
  const parts = buildParts();
  const form = buildForm(parts);
  const list = make("ul", { class: "fault-list", sayLabel: "control.faults" });
  const refresh = () => list.replaceChildren(...linesOf(model.controls?.faults ?? []));
  return { form, list, refresh };
}

const select = (values, key) => make("select", {}, ...values.map((value) => make("option", { value, say: `${key}.${value}` })));
const number = (value, least, most, step = 1) => make("input", { type: "number", value, min: least, max: most, step, required: true });

function buildParts() {
  return {
    endpoint: select(ENDPOINTS, "endpoint"),
    kind: select(KINDS, "fault.kind"),
    errcode: number(-1, -1, 9999999),
    status: number(500, 400, 599),
    seconds: number(3, 0.1, 600, "any"),
    times: select(["once", "times", "always"], "times"),
    count: number(3, 1, 1000),
    acted: make("input", { type: "checkbox" }),
  };
}

function buildForm(parts) {
  const optional = {
    errcode: labelled("fault.errcode", parts.errcode),
    status: labelled("fault.status", parts.status),
    seconds: labelled("fault.seconds", parts.seconds),
    count: labelled("fault.count", parts.count),
    acted: make("label", { class: "check" }, parts.acted, make("span", { say: "fault.acted" })),
  };
  const form = make("form", { class: "fault-form", sayLabel: "control.fault" }, labelled("fault.endpoint", parts.endpoint), labelled("fault.what", parts.kind), optional.errcode, optional.status, optional.seconds, labelled("fault.times", parts.times), optional.count, optional.acted, make("div", { class: "buttons left" }, make("button", { class: "main", say: "fault.add" })));
  const fit = () => {
    const kind = parts.kind.value;
    const needed = { errcode: kind === "fail", status: kind === "http", seconds: kind === "slow", count: parts.times.value === "times", acted: AFTER_THE_ACTION.includes(kind) };
    for (const [name, isNeeded] of Object.entries(needed)) {
      optional[name].hidden = !isNeeded;
      parts[name].disabled = !isNeeded;
    }
  };
  form.addEventListener("change", fit);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(form.closest(".control"), () => post("/faults", faultOf(parts)));
  });
  fit();
  return form;
}

function faultOf(parts) {
  const fault = { endpoint: parts.endpoint.value, kind: parts.kind.value, times: { once: 1, times: Number(parts.count.value), always: null }[parts.times.value] };
  for (const name of ["errcode", "status", "seconds"]) if (!parts[name].disabled) fault[name] = Number(parts[name].value);
  if (!parts.acted.disabled) fault.acted = parts.acted.checked;
  return fault;
}

function linesOf(faults) {
  if (!faults.length) return [make("li", { class: "why", text: say("faults.none") })];
  return faults.map((fault) => {
    const often = fault.times === null || fault.times === undefined ? say("times.always") : say("faults.times", { n: fault.times });
    return make("li", {}, make("span", { class: "badge fault", text: say(`endpoint.${fault.endpoint}`) }), ` ${fault.what} · ${often}`);
  });
}
