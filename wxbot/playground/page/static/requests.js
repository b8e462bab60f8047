/** Asking the page's server to do things, and telling a person why it did not. */

import { say } from "./words.js";

/** What the server said no with: its sentence is for the person at the page. */
export class Refused extends Error {}

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

/** Fetches an attachment and hands it to the browser to save: so a refusal is shown, and not saved as the file. */
export async function save(path, otherwise) {
  const answer = await fetched(path, {});
  if (!answer.ok) throw new Refused(await reasonOf(answer));
  const named = /filename="?([^";]+)/.exec(answer.headers.get("Content-Disposition") ?? "");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = named ? named[1] : otherwise;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return link.download;
}

async function ask(path, options) {
  const answer = await fetched(path, options);
  if (!answer.ok) throw new Refused(await reasonOf(answer));
  return answer.json();
}

async function fetched(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Refused(say("error.unreachable"));
  }
}

async function reasonOf(answer) {
  try {
    return (await answer.json()).error || say("error.status", { status: answer.status });
  } catch {
    return say("error.status", { status: answer.status });
  }
}

/** The path of a user's own things. */
export const ofUser = (name, what) => `/users/${encodeURIComponent(name)}/${what}`;
