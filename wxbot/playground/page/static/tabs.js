/** Tabs according to the ARIA practices: arrows move, Home and End go to the ends. */

/**
 * @param {HTMLElement} list the element with role=tablist; each tab's aria-controls names its panel
 * @param {(panel: string) => void} [onShown]
 */
export function startTabs(list, onShown = () => {}) {
  const tabs = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("[role=tab]")]);
  const choose = (tab, focus = false) => {
    for (const one of tabs) {
      const isChosen = one === tab;
      one.setAttribute("aria-selected", String(isChosen));
      one.tabIndex = isChosen ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !isChosen;
    }
    if (focus) tab.focus();
    onShown(tab.getAttribute("aria-controls"));
  };
  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) choose(tab);
  });
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const goals = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 };
    if (!(event.key in goals) || event.altKey) return;
    event.preventDefault();
    choose(tabs[(goals[event.key] + tabs.length) % tabs.length], true);
  });
  choose(tabs.find((tab) => tab.getAttribute("aria-selected") === "true") ?? tabs[0]);
  return (name) => choose(tabs.find((tab) => tab.getAttribute("aria-controls") === name));
}
