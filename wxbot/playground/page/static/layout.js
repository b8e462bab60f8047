/** The layout: the number of phones, and whether the controls are beside the timeline or on top of it. */

import { byId } from "./dom.js";
import { onSelection, selection, setCapacity } from "./selection.js";

const KEY = "wxbot.controls";
/** Below this width the page shows one part at a time. style.css has the same number. */
const NARROW = 900;
const LIST = 200;
const PHONE = 352;
const TIMELINE = 412;
const CONTROLS = 310;

let wanted = localStorage.getItem(KEY) !== "closed";
let isOver = false;

export function startLayout() {
  addEventListener("resize", arrange);
  onSelection(arrange);
  byId("controls-toggle").addEventListener("click", toggleControls);
  byId("controls-close").addEventListener("click", () => closeControls());
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
  const fits = innerWidth - LIST - phones * PHONE - TIMELINE >= CONTROLS;
  if (isNarrow() || fits) isOver = false;
  const state = isNarrow() ? "part" : fits && wanted ? "beside" : isOver ? "over" : "closed";
  const { dataset } = document.body;
  dataset.controls = state;
  dataset.room = String(selection.capacity);
  byId("controls-toggle").setAttribute("aria-expanded", String(state !== "closed"));
}

function toggleControls() {
  if (isNarrow()) return showPart("controls");
  const isOpen = document.body.dataset.controls !== "closed";
  wanted = !isOpen;
  isOver = !isOpen;
  localStorage.setItem(KEY, wanted ? "open" : "closed");
  arrange();
  if (!isOpen) byId("controls-title").focus();
}

/** Closes the controls. Returns true if they were open. */
export function closeControls(onlyOver = false) {
  const state = document.body.dataset.controls;
  if (state !== "over" && (onlyOver || state !== "beside")) return false;
  wanted = false;
  isOver = false;
  localStorage.setItem(KEY, "closed");
  arrange();
  byId("controls-toggle").focus();
  return true;
}

/** Shows one part of a narrow page. @param {string} part phones, happened or controls */
export function showPart(part) {
  document.body.dataset.part = part;
  for (const button of byId("parts").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.part === part));
  }
}

export function openControls() {
  if (isNarrow()) return showPart("controls");
  if (document.body.dataset.controls === "closed") toggleControls();
  else byId("controls-title").focus();
}
