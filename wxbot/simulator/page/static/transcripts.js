/** Keeping what happened, as a transcript or as a test, and playing a transcript again. */

import { attempt, note, showError } from "./alerts.js";
import { byId, make, setText } from "./dom.js";
import { model, on } from "./model.js";
import { postContent, save } from "./requests.js";
import { onLanguage, say } from "./words.js";

const AT_MOST = 16 * 1024 * 1024;

export function startTranscripts() {
  byId("save-yaml").addEventListener("click", () => saveAs("/transcript.yaml", "transcript.yaml"));
  byId("save-py").addEventListener("click", () => saveAs("/transcript.py", "test_transcript.py"));
  byId("play-choose").addEventListener("click", () => byId("play-file").click());
  byId("play-file").addEventListener("change", onChosen);
  on("play", showPlay);
  on("world", showPlay);
  onLanguage(showPlay);
}

function saveAs(path, name) {
  return attempt(byId("save-place"), async () => note(say("done.saved", { name: await save(path, name) })));
}

async function onChosen(event) {
  const [file] = event.target.files;
  event.target.value = "";
  if (!file) return;
  if (file.size > AT_MOST) return showError(byId("play-place"), say("error.transcript.size"));
  await attempt(byId("play-place"), () => postContent(`/play?name=${encodeURIComponent(file.name)}`, file, "application/yaml"));
}

function showPlay() {
  const { play } = model;
  const place = byId("play");
  place.hidden = !play;
  byId("play-choose").disabled = play?.state === "playing";
  if (!play) return;
  place.dataset.state = play.state;
  setText(byId("play-name"), play.name);
  setText(byId("play-verdict"), say(`play.${play.state}`, { done: play.done, steps: play.steps }));
  const progress = byId("play-progress");
  progress.max = Math.max(1, play.steps);
  progress.value = play.done;
  byId("play-problems").replaceChildren(...(play.problems ?? []).map((text) => make("li", { text })));
  byId("play-problems").hidden = !play.problems?.length;
  showBadge(play);
}

/** The tab says how it went, so that it is seen while another tab is open. */
function showBadge(play) {
  document.body.dataset.play = play.state;
}
