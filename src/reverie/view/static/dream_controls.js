// What a person acts with: buttons and sliders made from the action space, and keys for them.

import { h, short } from "./dom.js";

const ARROWS = { 2: ["ArrowLeft", "ArrowRight"], 3: ["ArrowLeft", "ArrowDown", "ArrowRight"],
  4: ["ArrowLeft", "ArrowDown", "ArrowRight", "ArrowUp"] };
const ROWS = ["0123456789", "qwrtyuio", "zxcvbnm"];
const PAIRS = [["ArrowLeft", "ArrowRight"], ["ArrowDown", "ArrowUp"], ["a", "d"], ["s", "w"], ["f", "h"],
  ["g", "t"], ["j", "l"], ["k", "i"]];
const BY_NAME = { LEFT: "ArrowLeft", RIGHT: "ArrowRight", UP: "ArrowUp", DOWN: "ArrowDown", FIRE: "f" };
const SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
const MOST_BUTTONS = 24;

/** What a key is called on a button. */
const sign = (key) => SIGNS[key] ?? key;

export class Controls {
  /**
   * `actions` is as the server describes them, `names` those of the classes of the only action, and
   * `act` is called when a key or a button is to do one step.
   */
  constructor(root, { actions, names, act, playing }) {
    Object.assign(this, { root, act, playing });
    this.entries = actions.flatMap(({ key, entries }) =>
      entries.map((entry, index) => new Entry(key, index, entries.length, entry)),
    );
    this.single = this.entries.length === 1;
    if (this.single && names?.length === this.entries[0].classes) this.entries[0].names = names;
    this.keys = new Map();
    this.#assign();
    root.replaceChildren(...this.entries.map((entry) => this.#element(entry)));
  }

  /** The action as it is set and held now. */
  value() {
    const found = {};
    for (const entry of this.entries) (found[entry.key] ??= []).push(entry.held ?? entry.chosen);
    return found;
  }

  /** Shows what led to a frame, and what the policy would do there. */
  show(frame) {
    const starts = {};
    for (const entry of this.entries) {
      const start = starts[entry.key] ?? 0;
      starts[entry.key] = start + (entry.classes ?? 1);
      const done = frame.action?.[entry.key]?.[entry.index];
      entry.show(done, frame.policy[entry.key], start, frame.valid[entry.key]);
    }
  }

  /** Does what a key of `keys` stands for. */
  press(key) {
    const { entry, value } = this.keys.get(key);
    if (this.playing()) {
      entry.hold(value);
    } else if (this.single) {
      entry.hold(value);
      this.act();
    } else if (entry.classes) {
      entry.choose(value);
    } else {
      entry.choose(Math.max(-1, Math.min(1, entry.chosen + 0.25 * value)));
    }
  }

  release(key) {
    const found = this.keys.get(key);
    if (found?.entry.held === found?.value) found?.entry.hold(null);
  }

  /** Lets go of all keys, as when the window loses them. */
  drop() {
    for (const entry of this.entries) entry.hold(null);
  }

  #assign() {
    const give = (key, entry, value) => {
      if (this.keys.has(key)) return;
      this.keys.set(key, { entry, value });
      (entry.keys[value] ??= []).push(key);
    };
    const taken = (list) => list.some((key) => this.keys.has(key));
    for (const entry of this.entries) {
      const { classes } = entry;
      if (entry.names) {
        entry.names.forEach((name, value) => BY_NAME[name] && give(BY_NAME[name], entry, value));
      } else if (classes && this.single && ARROWS[classes]) {
        ARROWS[classes].forEach((key, value) => give(key, entry, value));
      }
      const pair = PAIRS.find((keys) => !taken(keys));
      if (classes > 2 || (classes && this.single)) {
        const row = ROWS.find((keys) => !taken([...keys]));
        for (let value = 0; row && value < Math.min(classes, row.length); value++) give(row[value], entry, value);
      } else if (pair) {
        const values = classes ? [0, 1] : [-1, 1];
        pair.forEach((key, i) => give(key, entry, values[i]));
      }
    }
  }

  #element(entry) {
    const label = this.single ? "" : h("span", { class: "dream-name", title: entry.name }, entry.name);
    return h("div", { class: "dream-entry", role: "group", "aria-label": entry.name }, label,
      entry.classes ? this.#choices(entry) : slider(entry));
  }

  #choices(entry) {
    const pick = (value) => {
      entry.choose(value);
      if (this.single && !this.playing()) this.act();
    };
    if (entry.classes > MOST_BUTTONS) {
      const list = h("select", { "aria-label": entry.name, change: () => entry.choose(Number(list.value)) });
      for (let value = 0; value < entry.classes; value++) list.append(h("option", { value }, entry.text(value)));
      entry.mark = () => (list.value = entry.chosen);
      return list;
    }
    const buttons = [];
    for (let value = 0; value < entry.classes; value++) {
      const key = entry.keys[value]?.[0];
      buttons.push(h("button", { type: "button", class: "dream-choice", click: () => pick(value) },
        h("span", {}, entry.text(value)), key ? h("kbd", {}, sign(key)) : null));
    }
    entry.mark = () => buttons.forEach((button, value) => {
      button.setAttribute("aria-pressed", String(value === (entry.held ?? entry.chosen)));
      button.classList.toggle("done", value === entry.done);
      button.style.setProperty("--p", entry.policy?.[value] ?? 0);
      const share = entry.policy?.[value];
      button.title = share == null ? "" : `The policy takes it with ${short(100 * share)} %`;
      button.classList.toggle("invalid", entry.valid?.[value] === 0);
    });
    entry.mark();
    return h("div", { class: "dream-choices" }, buttons);
  }
}

function slider(entry) {
  const output = h("output", { class: "num small" });
  const input = h("input", { type: "range", min: -1, max: 1, step: 0.02, "aria-label": entry.name,
    input: () => entry.choose(Number(input.value)) });
  const [low, high] = [entry.keys[-1], entry.keys[1]].map((keys) => (keys ? h("kbd", {}, sign(keys[0])) : ""));
  const tick = h("i", { class: "dream-tick", title: "What the policy would do" });
  entry.mark = () => {
    const now = entry.held ?? entry.chosen;
    input.value = now;
    output.textContent = short(entry.native(now));
    const mean = entry.policy?.[0];
    tick.hidden = mean == null;
    if (mean != null) tick.style.setProperty("--x", (Math.max(-1, Math.min(1, mean)) + 1) / 2);
  };
  entry.mark();
  const centre = h("button", { type: "button", class: "quiet small", click: () => entry.choose(0),
    "aria-label": `${entry.name}: middle` }, "0");
  return h("div", { class: "dream-slider" }, low, h("span", { class: "dream-track" }, input, tick), high, output, centre);
}

/** One number of an action: a class, or a place between -1 and 1. */
class Entry {
  constructor(key, index, count, { classes, start = 0, low, high }) {
    Object.assign(this, { key, index, classes, start, low, high });
    this.name = count > 1 ? `${key} ${index}` : key;
    this.chosen = 0;
    this.held = null;
    this.keys = {};
    this.mark = () => {};
  }

  text(value) {
    return this.names?.[value] ?? String(value + this.start);
  }

  native(value) {
    return this.low + ((value + 1) / 2) * (this.high - this.low);
  }

  choose(value) {
    this.chosen = value;
    this.held = null;
    this.mark();
  }

  hold(value) {
    this.held = value;
    this.mark();
  }

  show(done, policy, start, valid) {
    const part = (list) => list?.slice(start, start + (this.classes ?? 1));
    Object.assign(this, { done, policy: part(policy), valid: part(valid) });
    this.mark();
  }
}
