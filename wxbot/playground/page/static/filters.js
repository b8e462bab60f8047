/** Which rows of the timeline a person wants to see. */

/** @typedef {import("./model.js").Row} Row */

/** The kinds of rows, by the groups they are chosen in. */
export const GROUPS = {
  pushes: ["push"],
  typing: ["typing"],
  replies: ["send", "passive", "notice"],
  files: ["token", "upload", "download", "other"],
  deeds: ["user", "agent", "turned"],
};

const GROUP_OF = Object.fromEntries(Object.entries(GROUPS).flatMap(([group, kinds]) => kinds.map((kind) => [kind, group])));

/** @param {string} kind */
export const groupOf = (kind) => GROUP_OF[kind] ?? "files";

/** Whether something about the row is not as it should be. @param {Row} row */
export function isProblem(row) {
  return Boolean(row.errcode || row.fault || row.violation || row.needless || row.kind === "notice" || (row.outcome && row.outcome !== "success") || (row.status && row.status >= 400));
}

/** @param {{user: string, groups: Set<string>, problems: boolean, search: string}} wish @returns {(row: Row) => boolean} */
export function matcher(wish) {
  const words = wish.search.trim().toLowerCase();
  return (row) =>
    (!wish.user || row.user === wish.user) &&
    wish.groups.has(groupOf(row.kind)) &&
    (!wish.problems || isProblem(row)) &&
    (!words || textOf(row).includes(words));
}

function textOf(row) {
  return `${row.what}\n${row.user}\n${row.errmsg}\n${row.errcode ?? ""}\n${row.outcome}\n${row.fault}\n${row.path}\n${row.kind}\n#${row.n}`.toLowerCase();
}
