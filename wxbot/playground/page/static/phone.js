/** The phone of one user: the title, the chat and the message field. */

import { attempt, showError } from "./alerts.js";
import { avatar, drawMessage } from "./bubbles.js";
import { makePanel } from "./user_actions.js";
import { make, setAttribute, setText } from "./dom.js";
import { makeGauges } from "./gauges.js";
import { icon } from "./icons.js";
import { isTyping, model, now } from "./model.js";
import { ofUser, post, postContent } from "./requests.js";
import { close, selection, show } from "./selection.js";
import { say } from "./words.js";

const TYPING = "对方正在输入…";
/** Maximum number of bubbles on a phone. Earlier ones are loaded on request. */
const MAX_BUBBLES = 200;
const SLACK = 50;
const NEAR_THE_END = 60;
const PICTURES = ["image/jpeg", "image/png", "image/gif"];

export class Phone {
  /** @param {string} name @param {Map<string, string>} drafts the unsent texts of the session's users */
  constructor(name, drafts) {
    this.name = name;
    this.drafts = drafts;
    this.first = 0;
    this.drawn = 0;
    this.gauges = makeGauges();
    this.build();
    this.redraw();
    this.tick(now());
  }

  get user() {
    return model.users.get(this.name);
  }

  get messages() {
    return model.messages.get(this.name) ?? [];
  }

  // -- building

  build() {
    this.heading = make("h3", { class: "phone-name", text: this.name });
    this.chips = make("div", { class: "chips" });
    this.closer = make("button", { type: "button", class: "bare", on: { click: () => close(this.name) } }, icon("close"));
    const head = make("header", { class: "phone-head" }, avatar("user", this.name), this.heading, this.chips, this.closer);
    this.element = make("article", { class: "phone-card", data: { user: this.name } }, head, this.gauges.element, this.buildFrame());
    this.element.addEventListener("focusin", () => this.select());
    this.element.addEventListener("pointerdown", () => this.select());
  }

  buildFrame() {
    this.title = make("span", { class: "title", "aria-live": "polite" });
    const bar = make("div", { class: "title-bar" }, icon("back"), this.title, icon("more"));
    this.earlier = make("button", { type: "button", class: "earlier", say: "chat.earlier", on: { click: () => this.showEarlier() } });
    this.list = make("div", { class: "chat-list" });
    this.chat = make("div", { class: "chat", role: "log", "aria-live": "polite", "aria-relevant": "additions", tabindex: 0 }, this.earlier, this.list);
    this.followEnd();
    this.errors = make("div", { class: "errors" });
    this.frame = make("div", { class: "phone" }, bar, this.chat, this.errors, this.buildComposer());
    this.acceptDrops();
    return this.frame;
  }

  buildComposer() {
    this.field = make("textarea", { rows: 1, maxlength: 20000, autocomplete: "off", enterkeyhint: "send" });
    this.field.value = this.drafts.get(this.name) ?? "";
    this.sender = make("button", { type: "submit", class: "send", say: "send" });
    this.plus = make("button", { type: "button", class: "plus", "aria-expanded": "false", sayLabel: "actions.open", on: { click: () => this.togglePanel() } }, icon("plus"));
    this.panel = make("div", { class: "panel", hidden: true });
    const form = make("form", { class: "composer", on: { submit: (event) => this.onSubmit(event) } }, this.field, this.sender, this.plus);
    this.field.addEventListener("keydown", (event) => this.onKey(event));
    this.field.addEventListener("input", () => this.keepDraft());
    this.field.addEventListener("paste", (event) => this.onFiles(event, event.clipboardData));
    return make("div", { class: "bottom" }, form, this.panel);
  }

  /** Updates the texts with the user's name. All other texts update themselves, so that input is not lost. */
  translate() {
    setAttribute(this.element, "aria-label", say("phone.of", { name: this.name }));
    setAttribute(this.chat, "aria-label", say("chat.of", { name: this.name }));
    setAttribute(this.field, "aria-label", say("message.from", { name: this.name }));
    setAttribute(this.field, "placeholder", say("message.placeholder"));
    setAttribute(this.closer, "aria-label", say("phone.close", { name: this.name }));
    this.showState();
    this.panel.querySelector(".actions")?.setAttribute("aria-label", say("actions.of", { name: this.name }));
  }

  // -- showing

  /** Redraws the chat, after a change of language or for another user. */
  redraw() {
    this.translate();
    this.list.replaceChildren();
    this.first = Math.max(0, this.messages.length - MAX_BUBBLES);
    this.drawn = this.first;
    this.earlier.hidden = this.first === 0;
    this.addMessages();
    this.toEnd();
  }

  /** Adds the bubbles that are not drawn yet. */
  addMessages() {
    const { messages } = this;
    if (this.drawn >= messages.length) return;
    const follows = this.followed;
    if (messages.length - this.drawn > MAX_BUBBLES) return this.redraw();
    const added = document.createDocumentFragment();
    for (; this.drawn < messages.length; this.drawn += 1) added.append(this.bubbleAt(this.drawn));
    this.list.append(added);
    if (follows) {
      this.dropEarly();
      this.toEnd();
    }
    this.earlier.hidden = this.first === 0;
  }

  bubbleAt(index) {
    const bubble = drawMessage(this.messages[index], index > this.first ? this.messages[index - 1] : undefined, this);
    bubble.querySelectorAll("img").forEach((image) => image.addEventListener("load", () => this.followed && this.toEnd()));
    return bubble;
  }

  dropEarly() {
    const tooMany = this.drawn - this.first - MAX_BUBBLES;
    if (tooMany < SLACK) return;
    for (let count = 0; count < tooMany; count += 1) this.list.firstElementChild?.remove();
    this.first += tooMany;
  }

  showEarlier() {
    const height = this.chat.scrollHeight;
    const from = Math.max(0, this.first - MAX_BUBBLES);
    const upTo = this.first;
    this.first = from;
    const added = document.createDocumentFragment();
    for (let index = from; index < upTo; index += 1) added.append(this.bubbleAt(index));
    this.list.prepend(added);
    this.earlier.hidden = from === 0;
    this.chat.scrollTop += this.chat.scrollHeight - height;
    if (from === 0) this.chat.focus();
  }

  isAtEnd() {
    return this.chat.scrollHeight - this.chat.scrollTop - this.chat.clientHeight < NEAR_THE_END;
  }

  /** Keeps the newest message visible when the chat is resized, until the user scrolls away from it. */
  followEnd() {
    let top = 0;
    this.chat.addEventListener("scroll", () => {
      if (this.isAtEnd()) this.followed = true;
      else if (this.chat.scrollTop < top) this.followed = false;
      top = this.chat.scrollTop;
    }, { passive: true });
    new ResizeObserver(() => this.followed && this.toEnd()).observe(this.chat);
  }

  toEnd() {
    this.followed = true;
    this.chat.scrollTop = this.chat.scrollHeight;
  }

  tick(at) {
    const { user } = this;
    if (!user) return;
    this.gauges.update(user, at);
    const typing = isTyping(user, at);
    if (this.element.dataset.typing !== String(typing)) this.showTyping(typing);
  }

  /** The title is always in Chinese, because it is WeChat's text. */
  showTyping(typing) {
    this.element.dataset.typing = String(typing);
    setAttribute(this.title, "lang", typing ? "zh-CN" : null);
    setText(this.title, typing ? TYPING : say(`account.title.${model.account.kind || "official"}`));
  }

  showState() {
    const { user } = this;
    if (!user) return;
    this.showTyping(isTyping(user));
    this.showFollows(user.follows);
    const chips = [];
    if (model.account.kind && model.account.kind !== "miniprogram") chips.push(say(user.follows ? "phone.follows" : this.hasLeft() ? "phone.left" : "phone.strange"));
    if (user.agent) chips.push(say("people.agent", { agent: user.agent }));
    else if (user.queued) chips.push(say("people.queued"));
    this.chips.replaceChildren(...chips.map((text) => make("span", { class: "chip", text })));
    this.closer.hidden = selection.open.length < 2;
    this.element.classList.toggle("selected", selection.selected === this.name && selection.open.length > 1);
  }

  /** Some actions are only for followers, others only for non-followers. The focus moves if the used one disappears. */
  showFollows(follows) {
    this.element.dataset.follows = String(follows);
    const used = document.activeElement;
    if (this.panel.contains(used) && !used.offsetParent) this.panel.querySelector("button")?.focus();
  }

  hasLeft() {
    return this.messages.some((row) => row.bubble.kind === "event" && row.bubble.title?.toLowerCase() === "unsubscribe");
  }

  select() {
    if (selection.selected !== this.name) show(this.name);
  }

  // -- doing

  /** @param {object} action */
  does(action) {
    return attempt(this.errors, () => post(ofUser(this.name, "actions"), action));
  }

  clickMenu(label) {
    return this.does({ action: "clicks_menu_item", label });
  }

  onSubmit(event) {
    event.preventDefault();
    this.sends();
  }

  async sends() {
    const text = this.field.value;
    if (!text.trim()) return;
    this.write("");
    this.toEnd();
    const isSent = await this.does({ action: "says", text });
    if (!isSent && !this.field.value) this.write(text);
  }

  write(text) {
    this.field.value = text;
    this.keepDraft();
  }

  keepDraft() {
    this.drafts.set(this.name, this.field.value);
    this.fit();
  }

  /** Sends on Enter, except while an input method is composing. */
  onKey(event) {
    if (event.key === "Escape" && !this.panel.hidden) this.closePanel();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.sends();
  }

  fit() {
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(120, this.field.scrollHeight)}px`;
  }

  // -- images

  acceptDrops() {
    const mark = (isOver) => (event) => {
      event.preventDefault();
      this.frame.classList.toggle("dropping", isOver);
    };
    this.frame.addEventListener("dragover", mark(true));
    this.frame.addEventListener("dragleave", mark(false));
    this.frame.addEventListener("drop", (event) => {
      mark(false)(event);
      this.onFiles(event, event.dataTransfer);
    });
  }

  onFiles(event, transfer) {
    const files = [...(transfer?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    files.forEach((file) => this.sendsPicture(file));
  }

  /** @param {File} file */
  sendsPicture(file) {
    if (!PICTURES.includes(file.type)) return showError(this.errors, say("error.picture", { name: file.name }));
    return attempt(this.errors, () => postContent(ofUser(this.name, "images"), file, file.type));
  }

  // -- the panel behind the plus

  togglePanel() {
    if (this.panel.hidden) this.openPanel(true);
    else this.closePanel();
  }

  openPanel(focus = false) {
    this.panel.replaceChildren(makePanel(this));
    this.panel.hidden = false;
    this.plus.setAttribute("aria-expanded", "true");
    if (focus) this.panel.querySelector("button")?.focus();
    this.toEnd();
  }

  closePanel() {
    this.panel.hidden = true;
    this.plus.setAttribute("aria-expanded", "false");
    this.plus.focus();
  }
}

