/** Light, dark, or as the system has it. */

const KEY = "wxbot.theme";

export function startTheme(select) {
  const kept = localStorage.getItem(KEY) ?? "system";
  select.value = kept;
  show(kept);
  select.addEventListener("change", () => {
    localStorage.setItem(KEY, select.value);
    show(select.value);
  });
}

function show(theme) {
  document.documentElement.dataset.theme = theme;
}
