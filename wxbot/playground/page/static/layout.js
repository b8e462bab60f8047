/** What there is room for: how many phones, and whether the knobs stand beside the timeline or over it. */

import { byId } from "./dom.js";
import { onSelection, selection, setCapacity } from "./selection.js";

const KEY = "wxbot.knobs";
/** Below this width the page is one part at a time. The same number stands in style.css. */
const NARROW = 900;
const LIST = 200;
const PHONE = 352;
const TIMELINE = 412;
const KNOBS = 310;

let wanted = localStorage.getItem(KEY) !== "closed";
let isOver = false;

export function startLayout() {
  addEventListener("resize", arrange);
  onSelection(arrange);
  byId("knobs-toggle").addEventListener("click", toggleKnobs);
  byId("knobs-close").addEventListener("click", () => closeKnobs());
  byId("parts").addEventListener("click", (event) => {
    const part = event.target.closest("button")?.dataset.part;
    if (part) showPart(part);
  });
  showPart("phones");
  arrange();
}

const isNarrow = () => innerWidth < NARROW;

function arrange() {
  setCapacity(isNarrow() ? 1 : Math.min(3, Math.max(1, Math.floor((innerWidth - LIST - TIMELINE) / PHONE))));
  const phones = Math.max(1, selection.open.length);
  const fits = innerWidth - LIST - phones * PHONE - TIMELINE >= KNOBS;
  if (isNarrow() || fits) isOver = false;
  const state = isNarrow() ? "part" : fits && wanted ? "beside" : isOver ? "over" : "closed";
  const { dataset } = document.body;
  dataset.knobs = state;
  dataset.room = String(selection.capacity);
  byId("knobs-toggle").setAttribute("aria-expanded", String(state !== "closed"));
}

function toggleKnobs() {
  if (isNarrow()) return showPart("knobs");
  const isOpen = document.body.dataset.knobs !== "closed";
  wanted = !isOpen;
  isOver = !isOpen;
  localStorage.setItem(KEY, wanted ? "open" : "closed");
  arrange();
  if (!isOpen) byId("knobs-title").focus();
}

/** Returns whether there was something to close. */
export function closeKnobs(onlyOver = false) {
  const state = document.body.dataset.knobs;
  if (state !== "over" && (onlyOver || state !== "beside")) return false;
  wanted = false;
  isOver = false;
  localStorage.setItem(KEY, "closed");
  arrange();
  byId("knobs-toggle").focus();
  return true;
}

/** On a narrow page: shows one part. @param {string} part phones, happened or knobs */
export function showPart(part) {
  document.body.dataset.part = part;
  for (const button of byId("parts").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.part === part));
  }
}

export function openKnobs() {
  if (isNarrow()) return showPart("knobs");
  if (document.body.dataset.knobs === "closed") toggleKnobs();
  else byId("knobs-title").focus();
}
