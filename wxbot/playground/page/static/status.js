/** The bar at the top: which account, whether the bot is up, whether the line to the server holds. */

import { attempt, clearError } from "./alerts.js";
import { byId, setText } from "./dom.js";
import { model, on } from "./model.js";
import { post } from "./requests.js";
import { everyTick } from "./ticker.js";
import { clockText } from "./times.js";
import { onLanguage, say } from "./words.js";

/** The words of a line that rests are those of one that holds: who comes back finds it made in a blink. */
const WORDS_OF = { first: "line.first", live: "line.live", resting: "line.live", again: "line.again" };

export function startStatus() {
  for (const topic of ["line", "bot", "world", "knobs", "play"]) on(topic, refresh);
  onLanguage(refresh);
  everyTick((at) => setText(byId("clock"), model.world ? clockText(Math.max(0, at), 0) : ""));
  byId("bot-restart").addEventListener("click", () => attempt(byId("bot-down"), () => post("/bot/restart")));
  refresh();
}

function refresh() {
  const { dataset } = document.body;
  Object.assign(dataset, { connected: String(model.line === "live"), line: model.line, world: String(model.world), bot: model.bot.state, account: model.account.kind });
  setText(byId("line"), say(WORDS_OF[model.line]));
  setText(byId("account"), model.account.kind ? say(`account.${model.account.kind}`) : "");
  setText(byId("bot-state"), `${say("bot")}: ${say(`bot.is.${model.bot.state}`)}`);
  showDown();
  document.title = model.account.kind ? `wxbot · ${say(`account.${model.account.kind}`)}` : "wxbot";
}

function showDown() {
  const isDown = model.bot.state === "down";
  byId("bot-down").hidden = !isDown;
  if (!isDown) clearError(byId("bot-down"));
  setText(byId("bot-problem"), isDown ? model.bot.problem || say("bot.down.unknown") : "");
  byId("bot-restart").dataset.say = model.bot.target ? "bot.ask" : "bot.restart";
  setText(byId("bot-restart"), say(byId("bot-restart").dataset.say));
}

