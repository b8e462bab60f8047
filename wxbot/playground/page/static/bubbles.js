/** Draws messages as a WeChat user sees them. Text of a bot is never used as markup: only its links are extracted. */

import { hidden, make } from "./dom.js";
import { icon } from "./icons.js";
import { dateOf } from "./model.js";
import { say, sayOr } from "./words.js";
import { hourText } from "./times.js";

/** Seconds of silence after which WeChat shows the time between two messages. */
const SILENCE = 300;
const AI_LINE = "内容由第三方AI生成";
const LINK = /<a\s([^>]*)>([\s\S]*?)<\/a>/gi;

/**
 * @param {import("./model.js").Row} row
 * @param {import("./model.js").Row|undefined} before the one above it
 * @param {{name: string, clickMenu: (label: string) => void}} phone
 */
export function drawMessage(row, before, phone) {
  const message = make("div", { class: `message from-${row.bubble.side}`, data: { row: row.n, side: row.bubble.side, kind: row.bubble.kind } });
  if (!before || row.at - before.at > SILENCE) message.append(make("p", { class: "grey-line time", text: hourText(dateOf(row.at)) }));
  if (isGrey(row.bubble)) message.append(greyLine(row));
  else message.append(line(row, phone));
  return message;
}

const isGrey = (/** @type {any} */ bubble) => bubble.side === "notice" || bubble.kind === "event";

function greyLine(row) {
  return make("p", { class: "grey-line" }, hidden(`${speakerOf(row.bubble.side, row.user)} `), greyText(row));
}

/** Returns the text for an event, with its subject. */
function greyText(row) {
  const { kind, title, description, text } = row.bubble;
  if (kind !== "event") return text || row.what;
  const named = title ? sayOr(`event.${title.toLowerCase()}`, title) : text || row.what;
  return description ? say("event.about", { event: named, about: description }) : named;
}

function line(row, phone) {
  const { bubble } = row;
  const draw = KINDS[bubble.kind] ?? KINDS.other;
  const content = make("div", { class: "content" }, draw(bubble, phone, row));
  if (bubble.side === "agent") content.prepend(make("p", { class: "speaker", text: say("agent") }));
  if (bubble.ai) content.append(make("p", { class: "ai-line", lang: "zh-CN", text: AI_LINE }));
  return make("div", { class: "line" }, avatar(bubble.side, phone.name), hidden(`${speakerOf(bubble.side, phone.name)} `), content);
}

function speakerOf(side, name) {
  if (side === "user") return say("said.by", { who: name });
  if (side === "notice") return say("said.by", { who: "WeChat" });
  return say("said.by", { who: say(side === "agent" ? "agent" : "bot") });
}

/** Returns the initial of a user on a colour of their own. */
export function avatar(side, name) {
  if (side === "agent") return make("span", { class: "avatar of-agent", "aria-hidden": "true" }, icon("agent"));
  if (side !== "user") return make("span", { class: "avatar of-bot", lang: "zh-CN", "aria-hidden": "true", text: "客" });
  const shown = make("span", { class: "avatar of-user", "aria-hidden": "true", text: [...name][0]?.toUpperCase() ?? "?" });
  shown.style.setProperty("--hue", String(hueOf(name)));
  return shown;
}

function hueOf(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return (sum * 137.5) % 360; // the golden angle gives similar names different colours
}

const KINDS = {
  text: (bubble, phone) => make("div", { class: "bubble" }, ...textWithLinks(bubble.text ?? "", phone)),
  image: (bubble) => picture(bubble.picture),
  voice: (bubble) => voice(bubble.media),
  video,
  music: (bubble) => card(bubble, "music", "bubble.music"),
  link: (bubble) => card(bubble, "link", "bubble.link"),
  news,
  page: miniProgram,
  menu,
  other: (bubble, _phone, row) => (bubble.title === "location" ? place(bubble) : other(bubble, row)),
};

// -- texts and their links

function textWithLinks(text, phone) {
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(LINK)) {
    if (found.index > from) parts.push(text.slice(from, found.index));
    parts.push(linkOf(found[1], found[2], phone));
    from = found.index + found[0].length;
  }
  if (from < text.length) parts.push(text.slice(from));
  return parts;
}

function linkOf(attributes, word, phone) {
  const page = attributeOf(attributes, "data-miniprogram-path");
  if (page) return make("span", { class: "page-link", title: say("bubble.page", { path: page }), text: word });
  const address = attributeOf(attributes, "href");
  const content = menuContentOf(address);
  if (content) return make("button", { type: "button", class: "menu-item inline", text: word, on: { click: () => phone.clickMenu(content) } });
  return isWeb(address) ? webLink(address, word) : word;
}

function attributeOf(attributes, name) {
  const found = new RegExp(`(?:^|\\s)${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s>]+))`, "i").exec(attributes);
  return (found?.[1] ?? found?.[2] ?? found?.[3] ?? "").replaceAll("&amp;", "&");
}

/** Returns the text that a click on weixin://bizmsgmenu?msgmenucontent=… sends, or "" for another address. */
function menuContentOf(address) {
  const asked = /^weixin:\/\/bizmsgmenu\?(.*)$/i.exec(address);
  return asked ? (new URLSearchParams(asked[1]).get("msgmenucontent") ?? "") : "";
}

const isWeb = (address) => /^https?:\/\//i.test(address ?? "");

function webLink(address, ...content) {
  return make("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, ...content);
}

// -- images, voice and video

/**
 * Returns true for a file of the platform. A bot may send any address, also other paths of this server, and also paths that
 * only look like a file: a browser reads /media/%2e%2e/events as /events.
 */
function isMedia(address) {
  return Boolean(address?.startsWith("/media/")) && new URL(address, location.origin).pathname === address;
}

function picture(address) {
  if (!address) return placeholder("picture", say("bubble.picture"));
  if (!isMedia(address)) return placeholder("picture", say("bubble.picture.foreign"), address);
  const shown = make("img", { class: "photo", src: address, alt: say("bubble.picture"), on: { error: () => link.replaceWith(placeholder("picture", say("bubble.gone"))) } });
  const link = make("a", { class: "photo-link", href: address, target: "_blank", rel: "noopener noreferrer" }, shown);
  return link;
}

function placeholder(name, text, address = "") {
  const shown = make("div", { class: "bubble missing" }, icon(name), make("span", { text }));
  if (isWeb(address)) shown.append(make("span", { class: "address" }, webLink(address, address)));
  else if (address) shown.append(make("span", { class: "address", text: address }));
  return shown;
}

function voice(media) {
  const button = make("button", { type: "button", class: "bubble voice", "aria-label": say("bubble.voice.play") }, icon("wave"), make("span", { text: say("bubble.voice") }));
  if (!isMedia(media)) button.disabled = true;
  button.addEventListener("click", () => play(button, media));
  return button;
}

/** Plays a voice message. Most browsers cannot play AMR, WeChat's own format: then a link to save it is shown. */
function play(button, media) {
  const audio = new Audio(media);
  button.classList.add("playing");
  const end = () => button.classList.remove("playing");
  audio.addEventListener("ended", end);
  audio.play().catch(() => {
    end();
    button.replaceWith(unplayable("voice", media));
  });
}

function unplayable(kind, media) {
  const save = make("a", { href: media, download: "", text: say("bubble.save") });
  return make("div", { class: "bubble missing" }, icon(kind), make("span", {}, say("bubble.unplayable"), " ", save));
}

function video(bubble) {
  const button = make("button", { type: "button", class: "film", "aria-label": say("bubble.video.play") }, icon("play"));
  if (!isMedia(bubble.media)) button.disabled = true;
  button.addEventListener("click", () => {
    const film = make("video", { class: "film", src: bubble.media, controls: true, autoplay: true });
    film.addEventListener("error", () => film.replaceWith(unplayable("video", bubble.media)));
    button.replaceWith(film);
  });
  if (!bubble.title && !bubble.description) return button;
  return make("div", { class: "filmed" }, button, titleOf(bubble, "p"), bubble.description ? make("p", { class: "small", text: bubble.description }) : null);
}

// -- cards

const titleOf = (bubble, tag = "span") => make(tag, { class: "card-title", text: bubble.title || bubble.text || bubble.url || "" });

function card(bubble, name, footer) {
  const words = make("span", { class: "card-words" }, titleOf(bubble), make("span", { class: "small", text: bubble.description || bubble.url || "" }));
  const body = make("span", { class: "card-body" }, words, make("span", { class: "card-picture" }, localPicture(bubble.picture) ?? icon(name)));
  return cardBox(bubble, body, make("span", { class: "card-foot", text: say(footer) }));
}

function news(bubble) {
  const body = make("span", { class: "news-body" }, make("span", { class: "news-picture" }, localPicture(bubble.picture) ?? foreignPicture(bubble.picture)), titleOf(bubble), bubble.description ? make("span", { class: "small", text: bubble.description }) : null);
  const more = (bubble.tail ?? "").split("\n").filter(Boolean);
  return cardBox(bubble, body, ...more.map((title) => make("span", { class: "card-foot more", text: title })));
}

function miniProgram(bubble) {
  const head = make("span", { class: "card-head" }, make("span", { class: "dot", "aria-hidden": "true" }), bubble.appid || say("bubble.miniprogram"));
  const place = bubble.path ? make("span", { class: "small path", text: bubble.path }) : null;
  const body = make("span", { class: "news-body" }, head, titleOf(bubble), make("span", { class: "news-picture" }, localPicture(bubble.picture) ?? foreignPicture(bubble.picture)), place);
  return make("div", { class: "bubble card page" }, body, make("span", { class: "card-foot", text: say("bubble.miniprogram") }));
}

function place(bubble) {
  return make("div", { class: "bubble card place" }, make("span", { class: "card-body" }, titleOf({ title: bubble.description })), make("span", { class: "map" }, icon("place")));
}

function other(bubble, row) {
  const kind = bubble.title ? make("span", { class: "small", text: bubble.title }) : null;
  return make("div", { class: "bubble other" }, kind, bubble.description || bubble.text || row.what);
}

function cardBox(bubble, ...content) {
  if (isWeb(bubble.url)) {
    const link = webLink(bubble.url, ...content);
    link.className = "bubble card";
    return link;
  }
  return make("div", { class: "bubble card" }, ...content);
}

function localPicture(address) {
  return isMedia(address) ? make("img", { src: address, alt: "" }) : null;
}

function foreignPicture(address) {
  return make("span", { class: "no-picture" }, icon("picture"), address ? make("span", { class: "address", text: address }) : null);
}

function menu(bubble, phone) {
  const click = (item) => () => phone.clickMenu(item.label);
  const items = (bubble.items ?? []).map((item) => make("li", {}, make("button", { type: "button", class: "menu-item", text: item.label, on: { click: click(item) } })));
  const head = bubble.title || bubble.text;
  return make(
    "div",
    { class: "bubble menu" },
    head ? make("p", {}, ...textWithLinks(head, phone)) : null,
    make("ul", { class: "menu-items" }, ...items),
    bubble.tail ? make("p", { text: bubble.tail }) : null,
  );
}
