/** Requests to the page's server, and their errors. */

import { say } from "./words.js";

/** An error response of the server. Its text is shown to the user. */
export class RequestError extends Error {}

/** @returns {Promise<any>} */
export function post(path, body = {}) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/** @param {Blob} content @returns {Promise<any>} */
export function postContent(path, content, type) {
  return ask(path, { method: "POST", headers: { "Content-Type": type }, body: content });
}

/** @returns {Promise<any>} */
export function get(path) {
  return ask(path, {});
}

/** Fetches an attachment and lets the browser save it. An error response is shown, not saved as the file. */
export async function save(path, otherwise) {
  const answer = await fetched(path, {});
  const named = /filename="?([^";]+)/.exec(answer.headers.get("Content-Disposition") ?? "");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = named ? named[1] : otherwise;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return link.download;
}

async function ask(path, options) {
  return (await fetched(path, options)).json();
}

async function fetched(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new RequestError(say("error.unreachable"));
  });
  if (!answer.ok) throw new RequestError(await reasonOf(answer));
  return answer;
}

async function reasonOf(answer) {
  try {
    return (await answer.json()).error || say("error.status", { status: answer.status });
  } catch {
    return say("error.status", { status: answer.status });
  }
}

/** Returns a path below a user's path. */
export const ofUser = (name, what) => `/users/${encodeURIComponent(name)}/${what}`;
