/** The gauges of a user's four deadlines. They are meters: a screen reader reads them on request, not every second. */

import { draw, make, setAttribute, setText } from "./dom.js";
import { isTyping, isWindowOpen, repliesLeft } from "./model.js";
import { say } from "./words.js";

export const WINDOW = 30;
export const INDICATOR = 15;
export const ALLOWANCE = 48 * 3600;
const USUAL_REPLIES = 5;
/** The radius of a circle with a circumference of 100, so that a share is a percentage. */
const RADIUS = 15.9155;

const GAUGES = [
  { name: "window", most: WINDOW, left: (user, at) => (isWindowOpen(user, at) ? user.window_until - at : 0), text: seconds },
  { name: "typing", most: INDICATOR, left: (user, at) => (isTyping(user, at) ? user.typing_until - at : 0), text: seconds },
  { name: "replies", most: USUAL_REPLIES, left: repliesLeft, text: (left) => ({ short: String(left), long: say("gauge.replies.left", { n: left }) }) },
  { name: "clock", most: ALLOWANCE, left: (user, at) => (user.replies_until && at < user.replies_until ? user.replies_until - at : 0), text: duration },
];

function seconds(left) {
  if (left <= 0) return { short: "–", long: say("gauge.none") };
  const whole = Math.ceil(left);
  return { short: `${whole}s`, long: say("gauge.seconds", { n: whole }) };
}

function duration(left) {
  if (left <= 60) return seconds(left);
  const hours = Math.floor(left / 3600);
  const minutes = Math.floor((left % 3600) / 60);
  return { short: left > 3600 ? `${Math.ceil(left / 3600)}h` : `${Math.ceil(left / 60)}m`, long: say("gauge.hours", { hours, minutes }) };
}

/** Makes the four gauges of a phone. @returns {{element: HTMLElement, update: (user: any, at: number) => void}} */
export function makeGauges() {
  const parts = GAUGES.map(makeGauge);
  return {
    element: make("div", { class: "gauges", role: "group", sayLabel: "gauges" }, ...parts.map((part) => part.element)),
    update: (user, at) => parts.forEach((part) => part.update(user, at)),
  };
}

function makeGauge(gauge) {
  const arc = draw("circle", { class: "arc", cx: 18, cy: 18, r: RADIUS, "stroke-dasharray": "0 100" });
  const ring = draw("svg", { viewBox: "0 0 36 36", class: "ring", "aria-hidden": "true" }, draw("circle", { class: "track", cx: 18, cy: 18, r: RADIUS }), arc);
  const number = make("span", { class: "number" });
  const meter = make("div", { class: "dial", role: "meter", "aria-valuemin": 0, "aria-valuemax": gauge.most, sayLabel: `gauge.${gauge.name}` }, ring, number);
  const element = make(
    "div",
    { class: "gauge", data: { gauge: gauge.name }, sayTitle: `gauge.${gauge.name}.why` },
    meter,
    make("span", { class: "caption", say: `gauge.${gauge.name}`, "aria-hidden": "true" }),
  );
  const update = (user, at) => {
    const left = gauge.left(user, at);
    const text = gauge.text(left);
    const share = Math.min(100, (left / gauge.most) * 100);
    setAttribute(arc, "stroke-dasharray", `${share.toFixed(1)} 100`);
    setText(number, text.short);
    setAttribute(meter, "aria-valuenow", Math.min(gauge.most, Math.ceil(left)));
    setAttribute(meter, "aria-valuetext", text.long);
    setAttribute(element, "data-level", left <= 0 ? "none" : share < 34 ? "low" : "good");
  };
  return { element, update };
}

/** Makes the small gauges of the user list: the window as a bar, and the number of replies. `describe` has their text. */
export function makeSmallGauges() {
  const bar = make("span", { class: "small-bar" });
  const replies = make("span", { class: "small-replies" });
  return {
    element: make("span", { class: "small-gauges", "aria-hidden": "true" }, make("span", { class: "small-track" }, bar), replies),
    update: (user, at) => {
      const share = isWindowOpen(user, at) ? (user.window_until - at) / WINDOW : 0;
      const width = `${Math.round(share * 100)}%`;
      if (bar.style.width !== width) bar.style.width = width;
      setText(replies, String(repliesLeft(user, at)));
    },
  };
}

/** Describes a user for screen readers. The text changes with the state, not with the seconds. */
export function describe(user, at, unread) {
  const parts = [];
  if (unread) parts.push(say("people.unread", { n: unread }));
  if (isTyping(user, at)) parts.push(say("people.typing"));
  parts.push(say(isWindowOpen(user, at) ? "people.window.open" : "people.window.closed"));
  parts.push(say("gauge.replies.left", { n: repliesLeft(user, at) }));
  if (user.agent) parts.push(say("people.agent", { agent: user.agent }));
  else if (user.queued) parts.push(say("people.queued"));
  return parts.join(say("comma"));
}

