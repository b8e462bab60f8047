/** The icons of the page, on a field of 24 by 24. They are decoration: the texts beside them say the same. */

import { draw } from "./dom.js";

const PATHS = {
  plus: "M12 4v16M4 12h16",
  close: "M6 6l12 12M18 6L6 18",
  back: "M15 5l-7 7 7 7",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  beside: "M4 5h7v14H4zM15 5h5v14h-5M17.500 9.500v5M15 12h5",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.500 9h.01",
  voice: "M12 4a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0V7a3 3 0 0 1 3-3zM6 11a6 6 0 0 0 12 0M12 17v4",
  wave: "M5 10a4 4 0 0 1 0 4M9 7.500a8 8 0 0 1 0 9M13 5a12 12 0 0 1 0 14",
  video: "M3 7h12v10H3zM15 11l6-3v8l-6-3",
  play: "M8 5l11 7-11 7z",
  music: "M9 18V6l11-2v12M9 18a3 3 0 1 1-3-3 3 3 0 0 1 3 3zM20 16a3 3 0 1 1-3-3 3 3 0 0 1 3 3z",
  place: "M12 21s7-6.500 7-12a7 7 0 0 0-14 0c0 5.500 7 12 7 12zM12 11.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  card: "M4 5h16v14H4zM4 15h16M8 9h5",
  enter: "M10 5h9v14h-9M4 12h10M10.500 8l4 4-4 4",
  leave: "M14 5H5v14h9M10 12h10M16.500 8l4 4-4 4",
  follow: "M10 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM3 20c.500-4 3-6 7-6s6.500 2 7 6M19 7v6M16 10h6",
  scan: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M4 12h16",
  menu: "M4 7h16M4 12h16M4 17h16",
  view: "M4 5h16v14H4zM4 9h16M7 7h.01",
  event: "M13 3L5 14h6l-1 7 8-11h-6z",
  agent: "M5 14v-2a7 7 0 0 1 14 0v2M5 13h2.500v5H5zM16.500 13H19v5h-2.500zM19 18c0 2-2 3-5 3",
  controls: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4",
  search: "M10.500 17a6.500 6.500 0 1 0 0-13 6.500 6.500 0 0 0 0 13zM15.500 15.500L20 20",
  question: "M9 9a3 3 0 1 1 4.500 2.600c-1 .600-1.500 1.200-1.500 2.400M12 17.500h.01",
  phone: "M7 3h10v18H7zM11 18h2",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
  down: "M12 5v13M6 12.500l6 6 6-6",
  restart: "M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
};

/** @param {keyof typeof PATHS} name */
export function icon(name) {
  return draw("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, draw("path", { d: PATHS[name] }));
}
