/** Formats times of the platform's clock. */

/** 3.2 → 0:03.20, 3725.1 → 1:02:05.10 */
export function clockText(at, digits = 2) {
  const whole = Math.floor(at);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const two = (number) => String(number).padStart(2, "0");
  const rest = digits ? (at - whole).toFixed(digits).slice(1) : "";
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}${rest.startsWith(".") ? rest : digits ? ".99" : ""}`;
}

/** Formats the time of a date as WeChat shows it between messages. */
export function hourText(date) {
  return `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`;
}

export function milliseconds(ms) {
  if (!ms) return "";
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
