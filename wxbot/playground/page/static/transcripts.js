/** Saving a session as a transcript or as a test, and replaying a transcript. */

import { attempt, confirmed, note, showError } from "./alerts.js";
import { byId, make, setText } from "./dom.js";
import { model, on } from "./model.js";
import { post, postContent, save } from "./requests.js";
import { waits } from "./waiting.js";
import { onLanguage, say } from "./words.js";

const MAX_BYTES = 16 * 1024 * 1024;
/** The server's text for a replay that the user stopped. */
const STOPPED = /^stopped at step \d+$/;

export function startTranscripts() {
  byId("save-yaml").addEventListener("click", () => saveAs("/transcript.yaml", "transcript.yaml"));
  byId("save-py").addEventListener("click", () => saveAs("/transcript.py", "test_transcript.py"));
  waits(byId("play-choose"));
  byId("play-choose").addEventListener("click", () => byId("play-file").click());
  byId("play-stop").addEventListener("click", () => attempt(byId("play-place"), () => post("/play/stop")));
  byId("play-file").addEventListener("change", onChosen);
  on("play", showPlay);
  on("session", showPlay);
  onLanguage(showPlay);
}

function saveAs(path, name) {
  return attempt(byId("save-place"), async () => note(say("done.saved", { name: await save(path, name) })));
}

async function onChosen(event) {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  if (file.size > MAX_BYTES) return showError(byId("play-place"), say("error.transcript.size"));
  if (model.rows.length && !(await mayBegin(file.name))) return;
  await attempt(byId("play-place"), () => postContent(`/play?name=${encodeURIComponent(file.name)}`, file, "application/yaml"));
}

const mayBegin = (name) => confirmed(say("account.confirm"), say("play.confirm.text", { name }), say("play.begin"));

function showPlay() {
  const { play } = model;
  const place = byId("play");
  place.hidden = !play;
  showStop(play?.state === "playing");
  if (!play) return;
  const state = outcomeOf(play);
  place.dataset.state = state;
  setText(byId("play-name"), play.name);
  setText(byId("play-verdict"), say(`play.${state}`, { done: play.done, steps: play.steps }));
  const progress = byId("play-progress");
  progress.max = Math.max(1, play.steps);
  progress.value = play.done;
  byId("play-problems").replaceChildren(...(play.problems ?? []).map((text) => make("li", { text })));
  byId("play-problems").hidden = !play.problems?.length;
  document.body.dataset.play = play.state; // the tab shows the result while another tab is open
}

function outcomeOf(play) {
  const isStopped = play.state === "failed" && play.problems?.length && play.problems.every((problem) => STOPPED.test(problem));
  return isStopped ? "stopped" : play.state;
}

/** Shows the stop button while a replay runs. When it disappears with the focus, the focus moves to the next useful button. */
function showStop(isPlaying) {
  const stop = byId("play-stop");
  const hadFocus = document.activeElement === stop;
  stop.hidden = !isPlaying;
  if (hadFocus && !isPlaying) byId("play-choose").focus();
}
