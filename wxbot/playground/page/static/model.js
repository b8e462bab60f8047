/** The data of the page. The event stream writes it. Listeners are notified of changes once per animation frame. */

/**
 * @typedef {{name: string, openid: string, window_until: number|null, typing_until: number|null, replies_left: number,
 *   replies_until: number|null, agent: string, queued: boolean, follows: boolean}} User
 * @typedef {{n: number, at: number, kind: string, user: string, what: string, errcode: number|null, errmsg: string,
 *   ms: number, fault: string, needless: boolean, violation: boolean, attempt: number, outcome: string,
 *   status: number|null, form: string, encrypted: boolean|null, path: string, has_details: boolean, bubble?: any}} Row
 * @typedef {"connecting"|"live"|"paused"|"reconnecting"} Connection the connection to the server: first attempt, open,
 *   closed while the page is hidden, or lost
 */

export const model = {
  session: 0,
  began: 0,
  offset: 0,
  /** @type {Connection} */ connection: "connecting",
  account: { kind: "", appid: "", name: "" },
  bot: { state: "starting", target: "", problem: "", callback: "", plugins: "", troubles: 0 },
  /** @type {any} */ controls: null,
  /** @type {any} */ play: null,
  /** @type {Map<string, User>} */ users: new Map(),
  /** @type {Row[]} */ rows: [],
  /** @type {Map<string, Row[]>} the rows that each user's phone shows */ messages: new Map(),
  /** @type {Set<string>} the users with a push, which can be redelivered */ pushed: new Set(),
  lastRow: -1,
  /** rows up to this second existed when the page was opened: they do not count as unread */ seenUntil: 0,
};

/** Returns the time of the platform's clock in seconds since the session began. */
export const now = () => performance.now() / 1000 + model.offset;

/** Converts a time of the platform's clock to a date. */
export const dateOf = (at) => new Date((model.began + at) * 1000);

/** @typedef {"session"|"users"|"rows"|"controls"|"bot"|"play"|"connection"} Topic */
/** @type {Record<Topic, Function[]>} */
const listeners = { session: [], users: [], rows: [], controls: [], bot: [], play: [], connection: [] };
/** @type {{topics: Set<string>, rows: Row[], users: Set<string>}} */
let pending = { topics: new Set(), rows: [], users: new Set() };
let isScheduled = false;

/** @param {Topic} topic @param {Function} listener rows: gets the new rows; users: gets the set of changed names */
export function on(topic, listener) {
  listeners[topic].push(listener);
}

/** Collects changes until the next animation frame, so that many rows are drawn at most sixty times a second. */
function changed(topic) {
  pending.topics.add(topic);
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(notify);
}

function notify() {
  isScheduled = false;
  const changes = pending;
  pending = { topics: new Set(), rows: [], users: new Set() };
  for (const topic of /** @type {Topic[]} */ (Object.keys(listeners))) {
    if (!changes.topics.has(topic)) continue;
    const what = topic === "rows" ? changes.rows : topic === "users" ? changes.users : undefined;
    for (const listener of listeners[topic]) listener(what);
  }
}

/** Stores the state of a session. Returns true if it is another session than before. */
export function takeSession(state) {
  const isOther = state.session !== model.session || Math.abs(state.began - model.began) > 0.001;
  if (isOther) forgetSession();
  Object.assign(model, { session: state.session, began: state.began, account: state.account, bot: state.bot, controls: state.controls, play: state.play });
  takeTime(state);
  if (isOther) model.seenUntil = state.now;
  takeUsers(state.users);
  for (const topic of ["controls", "bot", "play"]) changed(topic);
  return isOther;
}

function forgetSession() {
  model.users.clear();
  model.messages.clear();
  model.pushed.clear();
  model.rows = [];
  model.lastRow = -1;
  model.offset = -Infinity;
  pending.rows = [];
  pending.users.clear();
  changed("session");
}

/**
 * Updates the clock offset. A late event (the page was frozen, the machine asleep) only makes the offset smaller, so the largest
 * offset within a session is the most precise one.
 * @param {{now?: number}} data
 */
export function takeTime(data) {
  if (typeof data.now === "number") model.offset = Math.max(model.offset, data.now - performance.now() / 1000);
}

/** @param {User[]} users */
export function takeUsers(users) {
  for (const user of users) {
    model.users.set(user.name, user);
    pending.users.add(user.name);
  }
  if (users.length) changed("users");
}

/** Stores rows, each once: after a reconnection the server may send some again. @param {Row[]} rows */
export function takeRows(rows) {
  for (const row of rows) {
    if (row.n <= model.lastRow) continue;
    model.lastRow = row.n;
    model.rows.push(row);
    pending.rows.push(row);
    if (row.bubble && row.user) addMessage(row);
    if (row.kind === "push") model.pushed.add(row.user);
  }
  changed("rows");
}

function addMessage(row) {
  const messages = model.messages.get(row.user);
  if (messages) messages.push(row);
  else model.messages.set(row.user, [row]);
}

/** @param {"controls"|"bot"|"play"} what */
export function take(what, value) {
  model[what] = value;
  changed(what);
}

/** @param {Connection} connection */
export function takeConnection(connection) {
  model.connection = connection;
  changed("connection");
}

/** @returns {User[]} in the order they were added */
export const users = () => [...model.users.values()];

/** Returns true if 对方正在输入… is showing to the user. @param {User|undefined} user */
export const isTyping = (user, at = now()) => Boolean(user?.typing_until && at < user.typing_until);

/** Returns true if the user's 30-second window is open. @param {User|undefined} user */
export const isWindowOpen = (user, at = now()) => Boolean(user?.window_until && at < user.window_until);

/** Returns the number of messages that WeChat still accepts. @param {User|undefined} user */
export const repliesLeft = (user, at = now()) => (user?.replies_until && at < user.replies_until ? user.replies_left : 0);
