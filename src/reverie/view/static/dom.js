// Elements, messages and numbers.

/** An element with attributes (functions are listeners) and children; false and null are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== false && child != null));
  return element;
}

/** Buttons of which one is pressed: `act` is called with the key of one, `set` presses it. */
export function choice(name, options, act) {
  const buttons = Object.entries(options).map(([key, text]) =>
    h("button", { type: "button", "data-key": key, click: () => act(key) }, text));
  return {
    root: h("div", { class: "segments", role: "group", "aria-label": name }, buttons),
    set: (key) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.key === key))),
    press: act,
  };
}

/** Shows an error in place of what an element holds. */
export function fail(root, error) {
  console.debug(error);
  root.replaceChildren(h("div", { class: "error", role: "alert" }, error.message ?? String(error)));
}

/** A number in few characters. */
export function short(x, digits = 3) {
  if (x == null || Number.isNaN(x)) return "–";
  if (x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e15)) return x.toExponential(1);
  const units = [[1e12, 1e12, "T"], [1e9, 1e9, "G"], [1e6, 1e6, "M"], [1e4, 1e3, "k"]];
  for (const [least, size, unit] of units) {
    if (Math.abs(x) >= least) return `${Number((x / size).toPrecision(digits))}${unit}`;
  }
  return String(Number.isInteger(x) ? x : Number(x.toPrecision(digits)));
}

/** A time span. */
export function span(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)}h ${Math.floor((s % 3600) / 60)}m`;
  return `${Math.floor(s / 86400)}d ${Math.floor((s % 86400) / 3600)}h`;
}
