/** The log of the bot's process. */

import { attempt } from "./alerts.js";
import { byId, isShown, setText } from "./dom.js";
import { model, on } from "./model.js";
import { get } from "./requests.js";
import { everyTick } from "./ticker.js";
import { onLanguage, say } from "./words.js";

const FETCH_INTERVAL = 1000;
/** Maximum number of characters on the page. The file has the complete log. */
const MAX_CHARACTERS = 400_000;

let after = 0;
let askedAt = -Infinity;
let isAsking = false;
/** Number of errors in the log when the user last looked at it. */
let seen = 0;

export function startBotLog() {
  everyTick(onTick);
  on("bot", showTroubles);
  onLanguage(showTroubles);
  on("session", () => {
    after = 0;
    byId("log-text").textContent = "";
    byId("log-empty").hidden = false;
  });
}

function onTick() {
  if (!isShown("panel-log")) return;
  if (seen !== troubles()) showTroubles();
  if (performance.now() - askedAt > FETCH_INTERVAL) ask();
}

const troubles = () => model.bot.troubles ?? 0;

/** Shows the number of new errors on the tab. A restarted log has fewer errors than were seen. */
function showTroubles() {
  seen = isShown("panel-log") ? troubles() : Math.min(seen, troubles());
  const fresh = troubles() - seen;
  byId("log-troubles").hidden = fresh === 0;
  setText(byId("log-troubles"), String(fresh));
  setText(byId("log-troubles-words"), fresh === 0 ? "" : say(fresh === 1 ? "log.troubles.one" : "log.troubles", { n: fresh }));
}

async function ask() {
  if (isAsking) return;
  isAsking = true;
  await attempt(byId("log-errors"), async () => {
    const asked = after;
    const { text, next } = await get(`/log?after=${asked}`);
    if (after === asked) take(text, next);
  });
  askedAt = performance.now();
  isAsking = false;
}

function take(text, next) {
  if (next < after) byId("log-text").textContent = ""; // the log file was restarted
  after = next;
  if (!text) return;
  const place = byId("log-text");
  const follows = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
  place.append(text);
  if (place.textContent.length > MAX_CHARACTERS) place.textContent = place.textContent.slice(-MAX_CHARACTERS / 2);
  byId("log-empty").hidden = true;
  if (follows) place.scrollTop = place.scrollHeight;
}
