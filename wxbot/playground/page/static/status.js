/** The bar at the top: the account, the state of the bot, and the connection to the server. */

import { attempt, clearError } from "./alerts.js";
import { byId, sayOn, setText } from "./dom.js";
import { model, on } from "./model.js";
import { post } from "./requests.js";
import { everyTick } from "./ticker.js";
import { clockText } from "./times.js";
import { onLanguage, say } from "./words.js";

/** The texts of the connection states. A paused connection is shown as live, because it is restored at once. */
const WORDS_OF = { connecting: "connection.connecting", live: "connection.live", paused: "connection.live", reconnecting: "connection.reconnecting" };

export function startStatus() {
  for (const topic of ["connection", "bot", "session", "controls", "play"]) on(topic, refresh);
  onLanguage(refresh);
  everyTick((at) => setText(byId("clock"), model.session ? clockText(Math.max(0, at), 0) : ""));
  byId("bot-restart").addEventListener("click", () => attempt(byId("bot-down"), () => post("/bot/restart")));
  refresh();
}

function refresh() {
  const { dataset } = document.body;
  Object.assign(dataset, { connected: String(model.connection === "live"), connection: model.connection, session: String(model.session), bot: model.bot.state, account: model.account.kind });
  setText(byId("connection"), say(WORDS_OF[model.connection]));
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
  sayOn(byId("bot-restart"), model.bot.target ? "bot.ask" : "bot.restart");
}

