// Small parts of the page Dream.

import { h } from "./dom.js";

const SHAPES = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M6 5h4v14H6zM14 5h4v14h-4z",
  step: "M5 4.5v15l10-7.5zM16 5h3v14h-3z",
  back: "M19 4.5v15L9 12zM5 5h3v14H5z",
  first: "M12 5v14l-9-7zM21 5v14l-9-7z",
  last: "M12 5v14l9-7zM3 5v14l9-7z",
};

/** A drawing for a button. */
export function icon(name) {
  const span = h("span", { class: "dream-icon", "aria-hidden": "true" });
  span.innerHTML = `<svg viewBox="0 0 24 24" width="18" height="18" fill="currentColor"><path d="${SHAPES[name]}"/></svg>`;
  return span;
}

/** What the keys do, beside those on the buttons of actions. */
export function keysTable() {
  const rows = [["Space", "play or pause"], [". or Enter", "one step"], [", or Backspace", "one frame back"],
    ["Home, End", "first or last frame of the branch"], ["P", "policy or you"], ["E", "asleep or awake"],
    ["as on the buttons", "act: a step when paused, held while playing"]];
  return h("table", {}, h("tbody", {}, rows.map(([key, text]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, text)))));
}
