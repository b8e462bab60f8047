/** The knobs: everything about the platform that one may turn, each with a line on what turning it shows. */

import { attempt, clearError, confirmed } from "./alerts.js";
import { byId, labelled, make, setText } from "./dom.js";
import { makeFaults } from "./faults.js";
import { model, on } from "./model.js";
import { post } from "./requests.js";
import { onSelection, selection } from "./selection.js";
import { everyTick } from "./ticker.js";
import { clockText } from "./times.js";
import { waits } from "./waiting.js";
import { onLanguage, say } from "./words.js";

const KINDS = ["miniprogram", "official", "unverified"];
const MODES = ["plain", "compatible", "safe"];
let ids = 0;
/** What puts the state of the world into the knobs. @type {(() => void)[]} */
const shows = [];
/** What needs a selected user. @type {HTMLButtonElement[]} */
const forUser = [];

export function startKnobs() {
  byId("knob-groups").replaceChildren(delivery(), clock(), faults(), bot(), agents(), account());
  for (const topic of ["knobs", "bot", "world"]) on(topic, refresh);
  onSelection(refresh);
  onLanguage(refresh);
  everyTick(() => setText(aheadShown, say("clock.now", { now: clockText(Math.max(0, nowOf()), 0), ahead: clockText(model.knobs?.ahead ?? 0, 0) })));
  refresh();
}

const nowOf = () => performance.now() / 1000 + model.offset;

function refresh() {
  shows.forEach((show) => show());
  for (const button of forUser) button.disabled = !selection.selected;
}

// -- pieces

function group(key, ...content) {
  return make("details", { class: "knob-group", open: true }, make("summary", {}, make("h3", { say: `knobs.${key}` })), make("div", { class: "knob-body" }, ...content));
}

/** A knob: what it is, what it shows, and what to turn. */
function knob(key, ...controls) {
  const id = `knob-${(ids += 1)}`;
  const place = make("div", { class: "knob", role: "group", "aria-labelledby": `${id}-name`, "aria-describedby": `${id}-why` });
  place.append(make("p", { class: "knob-name", id: `${id}-name`, say: `knob.${key}` }), make("p", { class: "why", id: `${id}-why`, say: `knob.${key}.why` }), ...controls);
  return place;
}

function button(key, act, { user = false, waiting = false, kind = "" } = {}) {
  const made = make("button", { type: "button", say: key, class: kind });
  if (waiting) waits(made);
  made.addEventListener("click", () => attempt(made.closest(".knob"), async () => act(made)));
  if (user) forUser.push(made);
  return made;
}

/** One of a few: radio buttons that look like a row of keys. */
function choice(name, values, labelOf, chosen, choose, allowed = () => true) {
  const place = make("div", { class: "choice", role: "radiogroup", sayLabel: `knob.${name}` });
  const inputs = values.map((value) => {
    const input = make("input", { type: "radio", name, value, on: { change: () => onChange(value) } });
    waits(input);
    place.append(make("label", {}, input, make("span", { say: labelOf(value) })));
    return input;
  });
  let asked = 0; // what is on its way is shown as if it were done: other news must not turn it back meanwhile
  const show = () => inputs.forEach((input) => {
    if (!asked) input.checked = input.value === chosen();
    input.disabled = !allowed(input.value);
  });
  const onChange = async (value) => {
    asked += 1;
    await attempt(place.closest(".knob"), () => choose(value));
    asked -= 1;
    show();
  };
  shows.push(show);
  return place;
}

function check(key, chosen, choose) {
  const input = make("input", { type: "checkbox" });
  input.addEventListener("change", async () => {
    const isDone = await attempt(input.closest(".knob"), () => choose(input.checked));
    if (!isDone) input.checked = Boolean(chosen());
  });
  shows.push(() => (input.checked = Boolean(chosen())));
  return make("label", { class: "check" }, input, make("span", { say: key }));
}

const turn = (change) => post("/knobs", change).then((answer) => {
  if (answer.knobs) Object.assign(model.knobs ?? {}, answer.knobs);
  refresh();
});

// -- delivery

function delivery() {
  const held = make("span", { class: "badge", role: "status" });
  const redeliver = button("redeliver.last", () => post("/redeliver", { user: selection.selected }));
  const showRedeliver = () => (redeliver.disabled = !model.pushed.has(selection.selected));
  shows.push(showRedeliver);
  on("rows", showRedeliver);
  shows.push(() => setText(held, model.knobs?.held === null || model.knobs?.held === undefined ? "" : say("held", { n: model.knobs.held })));
  const hold = button("hold", () => turn({ hold: true }));
  const releases = [button("release.sent", () => post("/release", { order: "sent" })), button("release.reversed", () => post("/release", { order: "reversed" }))];
  shows.push(() => {
    const isHolding = model.knobs?.held !== null && model.knobs?.held !== undefined;
    hold.disabled = isHolding;
    releases.forEach((release) => (release.disabled = !isHolding));
  });
  return group(
    "delivery",
    knob("mode", choice("mode", MODES, (value) => `mode.${value}`, () => model.knobs?.mode, (mode) => turn({ mode }))),
    knob("format", choice("format", ["json", "xml"], (value) => `format.${value}`, () => model.knobs?.format, (format) => turn({ format }), (format) => model.knobs?.formats?.includes(format) ?? true)),
    knob("redeliver", redeliver),
    knob("twice", check("twice", () => model.knobs?.deliver_twice_at_once, (twice) => turn({ deliver_twice_at_once: twice }))),
    knob("order", check("in_order", () => model.knobs?.in_order, (inOrder) => turn({ in_order: inOrder }))),
    knob("hold", make("div", { class: "buttons left" }, hold, ...releases), held),
  );
}

// -- the clock

const aheadShown = make("p", { class: "clock-line", role: "timer" });
const notOurs = make("p", { class: "why", say: "clock.foreign", hidden: true });

function clock() {
  const to = (seconds) => () => post("/clock", { user: selection.selected, to: seconds });
  const seconds = make("input", { type: "number", min: 0.1, max: 2592000, step: "any", value: 10, required: true, sayLabel: "clock.seconds" });
  const forward = make("form", { class: "inline" }, seconds, make("span", { say: "seconds" }), make("button", { say: "clock.forward" }));
  forward.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(forward.closest(".knob"), () => post("/clock", { forward: Number(seconds.value) }));
  });
  shows.push(() => (notOurs.hidden = !model.bot.target));
  return group(
    "clock",
    aheadShown,
    notOurs,
    knob("clock29", button("clock.29", to(29), { user: true })),
    knob("clock31", button("clock.31", to(31), { user: true })),
    knob("clock48", button("clock.48", to(172800), { user: true })),
    knob("forward", forward),
  );
}

// -- faults and the token

function faults() {
  const { form, list, refresh: showFaults } = makeFaults();
  shows.push(showFaults);
  const clear = button("fault.clear", () => post("/faults/clear"));
  shows.push(() => (clear.disabled = !model.knobs?.faults?.length));
  return group("faults", knob("fault", form), knob("faults", list, make("div", { class: "buttons left" }, clear)), knob("token", button("token.revoke", () => post("/token/revoke"))));
}

// -- the bot and the people

function bot() {
  const list = make("dl", { class: "facts" });
  shows.push(() => {
    const { state, target, callback, plugins, problem } = model.bot;
    const known = [["bot.state", say(`bot.is.${state}`)], ["bot.target", target], ["bot.callback", callback], ["bot.plugins", plugins], ["bot.problem", problem]];
    list.replaceChildren(...known.filter(([, value]) => value).map(([key, value]) => make("div", {}, make("dt", { text: say(key) }), make("dd", { text: value }))));
  });
  const restart = button("bot.restart", () => post("/bot/restart"), { waiting: true });
  shows.push(() => {
    restart.dataset.say = model.bot.target ? "bot.ask" : "bot.restart";
    setText(restart, say(restart.dataset.say));
  });
  const place = knob("restart", restart);
  shows.push(() => model.bot.state === "starting" && clearError(place));
  return group("bot", list, place);
}

function agents() {
  const agent = make("input", { type: "text", value: "kf1", maxlength: 60 });
  const text = make("input", { type: "text", maxlength: 2000, sayPlaceholder: "agent.text.example" });
  const does = (what) => async () => {
    if (what === "says" && !text.value.trim()) return text.focus();
    await post("/agents", { agent: agent.value.trim(), does: what, user: selection.selected, text: text.value });
    if (what === "says") text.value = "";
  };
  const buttons = ["takes", "says", "closes"].map((what) => button(`agent.${what}`, does(what), { user: true }));
  text.addEventListener("keydown", (event) => event.key === "Enter" && !event.isComposing && buttons[1].click());
  const selected = make("p", { class: "selected-line" });
  shows.push(() => setText(selected, selection.selected ? say("selected.is", { name: selection.selected }) : say("selected.nobody")));
  const fields = [labelled("agent.name", agent), labelled("agent.text", text)];
  return group("agents", selected, knob("agent", ...fields, make("div", { class: "buttons left" }, ...buttons)));
}

// -- the account

function account() {
  const choose = async (kind) => {
    if (kind === model.account.kind) return;
    if (await confirmed(say("account.confirm"), say("account.confirm.text", { kind: say(`account.${kind}`) }), say("account.begin"))) await post("/account", { kind });
  };
  const begin = async () => {
    if (await confirmed(say("account.confirm"), say("account.new.text"), say("account.begin"))) await post("/account", { kind: model.account.kind });
  };
  const facts = make("p", { class: "clock-line" });
  shows.push(() => setText(facts, [model.account.appid, model.account.name].filter(Boolean).join(" · ")));
  return group("account", knob("account", choice("account", KINDS, (kind) => `account.${kind}`, () => model.account.kind, choose), button("account.new", begin, { waiting: true })), facts);
}
