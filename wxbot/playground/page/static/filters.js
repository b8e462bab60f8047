/** The filters of the timeline. */

/** @typedef {import("./model.js").Row} Row */

/** The kinds of rows, by filter group. */
export const GROUPS = {
  pushes: ["push"],
  typing: ["typing"],
  replies: ["send", "passive", "notice"],
  files: ["token", "upload", "download", "other"],
  actions: ["user", "agent", "control"],
};

const GROUP_OF = Object.fromEntries(Object.entries(GROUPS).flatMap(([group, kinds]) => kinds.map((kind) => [kind, group])));

/** @param {string} kind */
export const groupOf = (kind) => GROUP_OF[kind] ?? "files";

/** Returns true if the row shows a problem. @param {Row} row */
export function isProblem(row) {
  return Boolean(row.errcode || row.fault || row.violation || row.needless || row.kind === "notice" || (row.outcome && row.outcome !== "success") || (row.status && row.status >= 400));
}

/** @param {{user: string, groups: Set<string>, problems: boolean, search: string}} filter @returns {(row: Row) => boolean} */
export function matcher(filter) {
  const words = filter.search.trim().toLowerCase();
  return (row) =>
    (!filter.user || row.user === filter.user) &&
    filter.groups.has(groupOf(row.kind)) &&
    (!filter.problems || isProblem(row)) &&
    (!words || textOf(row).includes(words));
}

function textOf(row) {
  return `${row.what}\n${row.user}\n${row.errmsg}\n${row.errcode ?? ""}\n${row.outcome}\n${row.fault}\n${row.path}\n${row.kind}\n#${row.n}`.toLowerCase();
}
