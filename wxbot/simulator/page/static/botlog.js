/** The bot's own log, as its process writes it. */

import { clearError, showError } from "./alerts.js";
import { byId } from "./dom.js";
import { on } from "./model.js";
import { get } from "./requests.js";
import { everyTick } from "./ticker.js";

const BETWEEN = 1000;
/** So many characters are kept on the page: the file has them all. */
const HELD = 400_000;

let after = 0;
let askedAt = -Infinity;
let isAsking = false;

export function startBotLog() {
  everyTick(() => isShown() && performance.now() - askedAt > BETWEEN && ask());
  on("world", () => {
    after = 0;
    byId("log-text").textContent = "";
    byId("log-empty").hidden = false;
  });
}

const isShown = () => !byId("panel-log").hidden && byId("panel-log").offsetParent !== null;

async function ask() {
  if (isAsking) return;
  isAsking = true;
  try {
    const asked = after;
    const { text, next } = await get(`/log?after=${asked}`);
    if (after === asked) take(text, next);
    clearError(byId("log-errors"));
  } catch (error) {
    showError(byId("log-errors"), error.message);
  }
  askedAt = performance.now();
  isAsking = false;
}

function take(text, next) {
  if (next < after) byId("log-text").textContent = ""; // the file was begun anew
  after = next;
  if (!text) return;
  const place = byId("log-text");
  const follows = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
  place.append(text);
  if (place.textContent.length > HELD) place.textContent = place.textContent.slice(-HELD / 2);
  byId("log-empty").hidden = true;
  if (follows) place.scrollTop = place.scrollHeight;
}
