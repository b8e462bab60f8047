/** Starts the parts of the page. */

import { startAlerts } from "./alerts.js";
import { startBotLog } from "./botlog.js";
import { startDetails } from "./details.js";
import { byId, translate } from "./dom.js";
import { startKeys } from "./keys.js";
import { startControls } from "./controls.js";
import { showLanes, startLanes } from "./lanes.js";
import { startLayout } from "./layout.js";
import { startPeople } from "./people.js";
import { startPhones } from "./phones.js";
import { startSelection } from "./selection.js";
import { startStatus } from "./status.js";
import { startStream } from "./stream.js";
import { startTabs } from "./tabs.js";
import { startTheme } from "./theme.js";
import { startTicker } from "./ticker.js";
import { showTimeline, startTimeline } from "./timeline.js";
import { startTranscripts } from "./transcripts.js";
import { startWaiting } from "./waiting.js";
import { chooseLanguage, language, onLanguage } from "./words.js";

function startLanguage() {
  const button = byId("language");
  const show = () => {
    document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
    button.textContent = language() === "zh" ? "English" : "中文";
    button.lang = language() === "zh" ? "en" : "zh-CN";
    translate(document);
  };
  button.addEventListener("click", () => chooseLanguage(language() === "zh" ? "en" : "zh"));
  onLanguage(show);
  show();
}

function startHappenedTabs() {
  return startTabs(byId("happened-tabs"), (panel) => {
    if (panel === "panel-lanes") showLanes();
    if (panel === "panel-timeline") showTimeline();
  });
}

startLanguage();
startTheme(byId("theme"));
startAlerts();
startStatus();
startPeople();
startPhones();
startTimeline();
startDetails();
startLanes();
startBotLog();
startControls();
startTranscripts();
startWaiting();
startSelection();
startLayout();
startTabs(byId("controls-tabs"));
startKeys(startHappenedTabs());
startTicker();
startStream();
