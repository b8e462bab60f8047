/** The colour theme: light, dark, or the system's. */

const KEY = "wxbot.theme";

export function startTheme(select) {
  const stored = localStorage.getItem(KEY) ?? "system";
  select.value = stored;
  show(stored);
  select.addEventListener("change", () => {
    localStorage.setItem(KEY, select.value);
    show(select.value);
  });
}

function show(theme) {
  document.documentElement.dataset.theme = theme;
}
