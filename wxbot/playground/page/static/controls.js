/** The controls of the platform, each with a line that explains it. */

import { attempt, clearError, confirmed } from "./alerts.js";
import { byId, labelled, make, sayOn, setText } from "./dom.js";
import { makeFaults } from "./faults.js";
import { model, now, on } from "./model.js";
import { post } from "./requests.js";
import { onSelection, selection } from "./selection.js";
import { everyTick } from "./ticker.js";
import { clockText } from "./times.js";
import { waits } from "./waiting.js";
import { onLanguage, say } from "./words.js";

const KINDS = ["miniprogram", "official", "unverified"];
const MODES = ["plain", "compatible", "safe"];
let ids = 0;
/** Functions that show the state of the session in the controls. @type {(() => void)[]} */
const shows = [];
/** Buttons that need a selected user. @type {HTMLButtonElement[]} */
const forUser = [];

export function startControls() {
  byId("control-groups").replaceChildren(delivery(), clock(), faults(), bot(), agents(), account());
  for (const topic of ["controls", "bot", "session"]) on(topic, refresh);
  onSelection(refresh);
  onLanguage(refresh);
  everyTick(() => setText(aheadShown, say("clock.now", { now: clockText(Math.max(0, now()), 0), ahead: clockText(model.controls?.ahead ?? 0, 0) })));
  refresh();
}

function refresh() {
  shows.forEach((show) => show());
  for (const button of forUser) button.disabled = !selection.selected;
}

// -- pieces

function group(key, ...content) {
  return make("details", { class: "control-group", open: true }, make("summary", {}, make("h3", { say: `controls.${key}` })), make("div", { class: "control-body" }, ...content));
}

/** Makes a control: its name, its explanation, and its input elements. */
function control(key, ...controls) {
  const id = `control-${(ids += 1)}`;
  const place = make("div", { class: "control", role: "group", "aria-labelledby": `${id}-name`, "aria-describedby": `${id}-why` });
  place.append(make("p", { class: "control-name", id: `${id}-name`, say: `control.${key}` }), make("p", { class: "why", id: `${id}-why`, say: `control.${key}.why` }), ...controls);
  return place;
}

function button(key, act, { user = false, waiting = false, kind = "" } = {}) {
  const made = make("button", { type: "button", say: key, class: kind });
  if (waiting) waits(made);
  made.addEventListener("click", () => attempt(made.closest(".control"), async () => act(made)));
  if (user) forUser.push(made);
  return made;
}

/** Makes a choice of one value: radio buttons that look like a row of keys. */
function choice(name, values, labelOf, chosen, choose, allowed = () => true) {
  const place = make("div", { class: "choice", role: "radiogroup", sayLabel: `control.${name}` });
  const inputs = values.map((value) => {
    const input = make("input", { type: "radio", name, value, on: { change: () => onChange(value) } });
    waits(input);
    place.append(make("label", {}, input, make("span", { say: labelOf(value) })));
    return input;
  });
  let pending = 0; // a pending change is shown as done, so that other updates do not revert it meanwhile
  const show = () => inputs.forEach((input) => {
    if (!pending) input.checked = input.value === chosen();
    input.disabled = !allowed(input.value);
  });
  const onChange = async (value) => {
    pending += 1;
    await attempt(place.closest(".control"), () => choose(value));
    pending -= 1;
    show();
  };
  shows.push(show);
  return place;
}

function check(key, chosen, choose) {
  const input = make("input", { type: "checkbox" });
  input.addEventListener("change", async () => {
    const isDone = await attempt(input.closest(".control"), () => choose(input.checked));
    if (!isDone) input.checked = Boolean(chosen());
  });
  shows.push(() => (input.checked = Boolean(chosen())));
  return make("label", { class: "check" }, input, make("span", { say: key }));
}

const set = (change) => post("/controls", change).then((answer) => {
  if (answer.controls) Object.assign(model.controls ?? {}, answer.controls);
  refresh();
});

// -- delivery

function delivery() {
  const held = make("span", { class: "badge", role: "status" });
  const redeliver = button("redeliver.last", () => post("/redeliver", { user: selection.selected }));
  const showRedeliver = () => (redeliver.disabled = !model.pushed.has(selection.selected));
  shows.push(showRedeliver);
  on("rows", showRedeliver);
  const hold = button("hold", () => set({ hold: true }));
  const releases = [button("release.sent", () => post("/release", { order: "sent" })), button("release.reversed", () => post("/release", { order: "reversed" }))];
  shows.push(() => {
    const count = model.controls?.held ?? null;
    const isHolding = count !== null;
    setText(held, isHolding ? say("held", { n: count }) : "");
    hold.disabled = isHolding;
    releases.forEach((release) => (release.disabled = !isHolding));
  });
  return group(
    "delivery",
    control("mode", choice("mode", MODES, (value) => `mode.${value}`, () => model.controls?.mode, (mode) => set({ mode }))),
    control("format", choice("format", ["json", "xml"], (value) => `format.${value}`, () => model.controls?.format, (format) => set({ format }), (format) => model.controls?.formats?.includes(format) ?? true)),
    control("redeliver", redeliver),
    control("twice", check("twice", () => model.controls?.deliver_twice_at_once, (twice) => set({ deliver_twice_at_once: twice }))),
    control("order", check("in_order", () => model.controls?.in_order, (inOrder) => set({ in_order: inOrder }))),
    control("hold", make("div", { class: "buttons left" }, hold, ...releases), held),
  );
}

// -- the clock

const aheadShown = make("p", { class: "clock-line", role: "timer" });
const externalNote = make("p", { class: "why", say: "clock.foreign", hidden: true });

function clock() {
  const to = (seconds) => () => post("/clock", { user: selection.selected, to: seconds });
  const seconds = make("input", { type: "number", min: 0.1, max: 2592000, step: "any", value: 10, required: true, sayLabel: "clock.seconds" });
  const forward = make("form", { class: "inline" }, seconds, make("span", { say: "seconds" }), make("button", { say: "clock.forward" }));
  forward.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(forward.closest(".control"), () => post("/clock", { forward: Number(seconds.value) }));
  });
  shows.push(() => (externalNote.hidden = !model.bot.target));
  return group(
    "clock",
    aheadShown,
    externalNote,
    control("clock29", button("clock.29", to(29), { user: true })),
    control("clock31", button("clock.31", to(31), { user: true })),
    control("clock48", button("clock.48", to(172800), { user: true })),
    control("forward", forward),
  );
}

// -- faults and the token

function faults() {
  const { form, list, refresh: showFaults } = makeFaults();
  shows.push(showFaults);
  const clear = button("fault.clear", () => post("/faults/clear"));
  shows.push(() => (clear.disabled = !model.controls?.faults?.length));
  return group("faults", control("fault", form), control("faults", list, make("div", { class: "buttons left" }, clear)), control("token", button("token.revoke", () => post("/token/revoke"))));
}

// -- the bot and the human agents

function bot() {
  const list = make("dl", { class: "facts" });
  shows.push(() => {
    const { state, target, callback, plugins, problem } = model.bot;
    const known = [["bot.state", say(`bot.is.${state}`)], ["bot.target", target], ["bot.callback", callback], ["bot.plugins", plugins], ["bot.problem", problem]];
    list.replaceChildren(...known.filter(([, value]) => value).map(([key, value]) => make("div", {}, make("dt", { text: say(key) }), make("dd", { text: value }))));
  });
  const restart = button("bot.restart", () => post("/bot/restart"), { waiting: true });
  shows.push(() => sayOn(restart, model.bot.target ? "bot.ask" : "bot.restart"));
  const place = control("restart", restart);
  shows.push(() => model.bot.state === "starting" && clearError(place));
  return group("bot", list, place);
}

function agents() {
  const agent = make("input", { type: "text", value: "kf1", maxlength: 60 });
  const text = make("input", { type: "text", maxlength: 2000, sayPlaceholder: "agent.text.example" });
  const does = (what) => async () => {
    if (what === "says" && !text.value.trim()) return text.focus();
    await post("/agents", { agent: agent.value.trim(), action: what, user: selection.selected, text: text.value });
    if (what === "says") text.value = "";
  };
  const buttons = ["takes", "says", "closes"].map((what) => button(`agent.${what}`, does(what), { user: true }));
  text.addEventListener("keydown", (event) => event.key === "Enter" && !event.isComposing && buttons[1].click());
  const selected = make("p", { class: "selected-line" });
  shows.push(() => setText(selected, selection.selected ? say("selected.is", { name: selection.selected }) : say("selected.nobody")));
  const fields = [labelled("agent.name", agent), labelled("agent.text", text)];
  return group("agents", selected, control("agent", ...fields, make("div", { class: "buttons left" }, ...buttons)));
}

// -- the account

function account() {
  const begin = async (kind, warning) => {
    if (await confirmed(say("account.confirm"), warning, say("account.begin"))) await post("/account", { kind });
  };
  const choose = async (kind) => kind !== model.account.kind && begin(kind, say("account.confirm.text", { kind: say(`account.${kind}`) }));
  const again = () => begin(model.account.kind, say("account.new.text"));
  const facts = make("p", { class: "clock-line" });
  shows.push(() => setText(facts, [model.account.appid, model.account.name].filter(Boolean).join(" · ")));
  return group("account", control("account", choice("account", KINDS, (kind) => `account.${kind}`, () => model.account.kind, choose), button("account.new", again, { waiting: true })), facts);
}
