/** What the page knows of the world. The stream writes it; everything else reads it and is told of changes once a frame. */

/**
 * @typedef {{name: string, openid: string, window_until: number|null, typing_until: number|null, replies_left: number,
 *   replies_until: number|null, agent: string, queued: boolean, follows: boolean}} User
 * @typedef {{n: number, at: number, kind: string, user: string, what: string, errcode: number|null, errmsg: string,
 *   ms: number, fault: string, needless: boolean, violation: boolean, attempt: number, outcome: string,
 *   status: number|null, form: string, sealed: boolean|null, path: string, opens: boolean, bubble?: any}} Row
 * @typedef {"first"|"live"|"resting"|"again"} Line how the line to the server is: the first one is being made, it holds, it is
 *   let go because nobody looks at the page, or it broke and is made again
 */

export const model = {
  world: 0,
  began: 0,
  offset: 0,
  /** @type {Line} */ line: "first",
  account: { kind: "", appid: "", name: "" },
  bot: { state: "starting", target: "", problem: "", callback: "", plugins: "", troubles: 0 },
  /** @type {any} */ knobs: null,
  /** @type {any} */ play: null,
  /** @type {Map<string, User>} */ users: new Map(),
  /** @type {Row[]} */ rows: [],
  /** @type {Map<string, Row[]>} what each user's phone shows */ said: new Map(),
  /** @type {Set<string>} who had a message pushed, so that it may be pushed again */ pushed: new Set(),
  lastRow: -1,
  /** rows up to this second were there when the page came: nobody missed them */ seenUntil: 0,
};

/** The platform's clock, in seconds since the world began. */
export const now = () => performance.now() / 1000 + model.offset;

/** The platform's clock as a date. */
export const dateOf = (at) => new Date((model.began + at) * 1000);

/** @typedef {"world"|"users"|"rows"|"knobs"|"bot"|"play"|"line"} Topic */
/** @type {Record<Topic, Function[]>} */
const listeners = { world: [], users: [], rows: [], knobs: [], bot: [], play: [], line: [] };
/** @type {{topics: Set<string>, rows: Row[], users: Set<string>}} */
let news = { topics: new Set(), rows: [], users: new Set() };
let asked = false;

/** @param {Topic} topic @param {Function} listener rows: gets the new rows; users: gets the set of changed names */
export function on(topic, listener) {
  listeners[topic].push(listener);
}

/** A frame gathers all that came since the last one: a storm of rows is drawn sixty times a second at most. */
function changed(topic) {
  news.topics.add(topic);
  if (asked) return;
  asked = true;
  requestAnimationFrame(tell);
}

function tell() {
  asked = false;
  const told = news;
  news = { topics: new Set(), rows: [], users: new Set() };
  for (const topic of /** @type {Topic[]} */ (Object.keys(listeners))) {
    if (!told.topics.has(topic)) continue;
    const what = topic === "rows" ? told.rows : topic === "users" ? told.users : undefined;
    for (const listener of listeners[topic]) listener(what);
  }
}

/** Takes the state of a world. Returns whether it is another world than the one before. */
export function takeWorld(state) {
  const isOther = state.world !== model.world || Math.abs(state.began - model.began) > 0.001;
  if (isOther) forgetWorld();
  Object.assign(model, { world: state.world, began: state.began, account: state.account, bot: state.bot, knobs: state.knobs, play: state.play });
  takeTime(state);
  if (isOther) model.seenUntil = state.now;
  takeUsers(state.users);
  for (const topic of ["knobs", "bot", "play"]) changed(topic);
  return isOther;
}

function forgetWorld() {
  model.users.clear();
  model.said.clear();
  model.pushed.clear();
  model.rows = [];
  model.lastRow = -1;
  model.offset = -Infinity;
  news.rows = [];
  news.users.clear();
  changed("world");
}

/**
 * What is told late (the page was frozen, the machine asleep) makes the offset only ever smaller: within a world the
 * largest one is the one that was told the fastest.
 * @param {{now?: number}} data
 */
export function takeTime(data) {
  if (typeof data.now === "number") model.offset = Math.max(model.offset, data.now - performance.now() / 1000);
}

/** @param {User[]} users */
export function takeUsers(users) {
  for (const user of users ?? []) {
    model.users.set(user.name, user);
    news.users.add(user.name);
  }
  if (users?.length) changed("users");
}

/** Takes rows once each: after a reconnection the server may tell some again. @param {Row[]} rows */
export function takeRows(rows) {
  for (const row of rows) {
    if (row.n <= model.lastRow) continue;
    model.lastRow = row.n;
    model.rows.push(row);
    news.rows.push(row);
    if (row.bubble && row.user) keepSaid(row);
    if (row.kind === "push") model.pushed.add(row.user);
  }
  changed("rows");
}

function keepSaid(row) {
  const said = model.said.get(row.user);
  if (said) said.push(row);
  else model.said.set(row.user, [row]);
}

/** @param {"knobs"|"bot"|"play"} what */
export function take(what, value) {
  model[what] = value;
  changed(what);
}

/** @param {Line} line */
export function takeLine(line) {
  model.line = line;
  changed("line");
}

/** @returns {User[]} in the order they were added */
export const users = () => [...model.users.values()];

/** Whether 对方正在输入… shows to the user. @param {User|undefined} user */
export const isTyping = (user, at = now()) => Boolean(user?.typing_until && at < user.typing_until);

/** Whether the 30 seconds are running. @param {User|undefined} user */
export const isWindowOpen = (user, at = now()) => Boolean(user?.window_until && at < user.window_until);

/** How many messages WeChat would still take. @param {User|undefined} user */
export const repliesLeft = (user, at = now()) => (user?.replies_until && at < user.replies_until ? user.replies_left : 0);
