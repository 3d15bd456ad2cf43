// A dream that has begun: pictures, curves, who drives, and the way through its frames.

import { every } from "./api.js";
import { choice, h, short } from "./dom.js";
import { Controls } from "./dream_controls.js";
import { Curves } from "./dream_curves.js";
import { icon, keysTable } from "./dream_parts.js";
import { Pictures } from "./dream_pictures.js";
import { Timeline } from "./dream_timeline.js";

const SPEEDS = [1, 2, 5, 10, 15, 30, 0];
const ENDS = 0.5; // Continue probability below which an episode ends.

export class View {
  constructor(page, answer) {
    Object.assign(this, { page, link: page.link, about: page.about, frames: new Map(), path: [], pos: 0 });
    Object.assign(this, { playing: false, busy: false, driver: "you", awake: false, likely: true, speed: 10, rate: 0 });
    this.truth = answer.content.truth;
    this.#make(answer.content.names);
    this.#take(answer);
    this.listeners = [["keydown", (e) => this.#down(e)], ["keyup", (e) => this.controls.release(e.key)],
      ["blur", () => this.controls.drop()]];
    for (const [name, listener] of this.listeners) addEventListener(name, listener);
    this.poll = every(10, () => this.#newest());
    this.#newest();
  }

  close() {
    this.playing = false;
    this.closed = true;
    this.poll();
    for (const [name, listener] of this.listeners) removeEventListener(name, listener);
    this.curves.close();
    this.timeline.close();
  }

  get frame() {
    return this.path[this.pos];
  }

  // Building.

  #make(names) {
    const real = this.truth === "environment" ? "Environment" : "Recording";
    this.pictures = new Pictures(this.about, real);
    this.badge = h("strong", { class: "dream-badge" });
    this.place = h("span", { class: "muted small" });
    this.note = h("div", { class: "small dream-note" });
    const lanes = h("div", {});
    this.timeline = new Timeline(lanes, { go: (number) => this.go(number), move: (steps) => this.move(steps) });
    const acting = h("div", { class: "dream-entries" });
    this.controls = new Controls(acting, { actions: this.about.actions, names, act: () => this.step(),
      playing: () => this.playing && this.driver === "you" });
    // After a click of the mouse the keys are those of the page again, not those of the button.
    const free = (event) => event.detail && event.target.closest("button, summary")?.blur();
    const stage = h("section", { class: "card dream-stage", "aria-label": "The dream", click: free },
      h("div", { class: "row dream-top" }, this.badge, this.place), this.pictures.root, this.note, lanes,
      this.#transport(), this.#drivers(), acting, this.#more());
    this.curves = new Curves(this.about, (step) => this.move(step - this.frame.step));
    this.page.body.append(h("div", { class: "dream" }, stage, this.curves.root));
    this.newer = h("button", { type: "button", hidden: true, click: () => this.#reload() });
    this.page.tools.replaceChildren(this.newer,
      h("button", { type: "button", click: () => this.page.again() }, "New dream"));
  }

  #transport() {
    const button = (name, label, act) =>
      h("button", { type: "button", "aria-label": label, title: label, click: act }, icon(name));
    this.play = button("play", "Play", () => this.toggle());
    const speeds = h("select", { "aria-label": "Steps per second", change: () => (this.speed = Number(speeds.value)) },
      SPEEDS.map((x) => h("option", { value: x, selected: x === this.speed }, x ? `${x} steps/s` : "as fast as it goes")));
    this.measured = h("span", { class: "muted small num dream-rate" });
    return h("div", { class: "row dream-transport" }, button("first", "To the first frame", () => this.move(-Infinity)),
      button("back", "One frame back", () => this.move(-1)), this.play,
      button("step", "One step", () => this.step()), button("last", "To the last frame of this branch", () => this.move(Infinity)),
      speeds, this.measured);
  }

  #drivers() {
    const drivers = { you: "You", policy: "Policy", ...(this.truth === "recording" ? { recording: "Recording" } : {}) };
    this.drive = choice("Who drives", drivers, (driver) => this.#drives(driver));
    this.eyes = choice("What the model sees", { asleep: "Asleep", awake: "Awake" }, (eyes) => {
      this.awake = eyes === "awake";
      this.eyes.set(eyes);
    });
    const likely = h("input", { type: "checkbox", change: () => (this.likely = !likely.checked) });
    this.drawn = h("label", { class: "row small", title: "As in training; else it takes the most likely ones" }, likely, "draws its actions");
    this.drive.set("you");
    this.eyes.set("asleep");
    this.drawn.hidden = true;
    return h("div", { class: "row" }, this.drive.root, this.eyes.root, this.drawn);
  }

  #drives(driver) {
    this.driver = driver;
    this.drive.set(driver);
    this.drawn.hidden = driver !== "policy";
    this.controls.root.classList.toggle("driven", driver !== "you");
    this.controls.drop();
  }

  #more() {
    const format = h("select", { "aria-label": "Format of the film" }, h("option", { value: "mp4" }, "mp4"), h("option", { value: "gif" }, "gif"));
    this.save = h("button", { type: "button", click: () => this.#film(format.value) }, "Save film");
    this.room = h("span", { class: "muted small" });
    return h("div", { class: "row dream-more" }, this.save, format, this.room, h("span", { class: "grow" }),
      h("details", { class: "small dream-keys" }, h("summary", {}, "Keys"), keysTable()));
  }

  // Frames.

  /** Takes the frames of an answer into the tree, and goes to the last one. */
  #take({ content, blobs }) {
    let next = 0;
    for (const frame of content.frames) {
      frame.blobs = frame.pictures.map(() => blobs[next++]);
      frame.ends = frame.con < ENDS || !!frame.known?.last;
      if (!this.frames.has(frame.number)) {
        this.frames.set(frame.number, frame);
        this.timeline.add(frame);
      }
    }
    this.notes = content.note;
    this.room.textContent = `${this.frames.size} frames, room for about ${short(content.room)} more`;
    this.go(content.frames.at(-1).number);
  }

  /** Shows a frame; what follows in its branch stays ahead of it. */
  go(number) {
    const kept = this.path.findIndex((frame) => frame.number === number);
    if (kept >= 0) {
      this.pos = kept;
    } else {
      const back = [];
      for (let frame = this.frames.get(number); frame; frame = this.frames.get(frame.parent)) back.unshift(frame);
      this.pos = back.length - 1;
      this.path = [...back, ...this.#ahead(number)];
    }
    this.show();
  }

  #ahead(number) {
    const found = [];
    const all = [...this.frames.values()];
    for (let at = number; ; at = found.at(-1).number) {
      const next = all.findLast((frame) => frame.parent === at);
      if (!next) return found;
      found.push(next);
    }
  }

  move(steps) {
    this.#pause();
    this.pos = Math.max(0, Math.min(this.path.length - 1, this.pos + steps));
    this.show();
  }

  show() {
    const { frame } = this;
    this.badge.textContent = frame.horizon ? `Asleep for ${frame.horizon} step${frame.horizon > 1 ? "s" : ""}` : "Awake";
    this.badge.classList.toggle("asleep", frame.horizon > 0);
    const who = { you: "you drove", policy: "the policy drove", recording: "the recording drove" }[frame.driver];
    this.place.textContent = [`step ${frame.step}`, who, frame.model !== this.about.step && `checkpoint ${frame.model}`].filter(Boolean).join(" · ");
    const remark = this.#remark(frame);
    const hint = this.driver === "you" ? "Act with the buttons or their keys. Space plays, P lets the policy drive." : "";
    this.note.textContent = remark || hint;
    this.note.classList.toggle("muted", !remark);
    this.pictures.show(frame);
    this.controls.show(frame);
    this.timeline.show(this.path, this.pos);
    this.curves.show(this.path, this.pos);
  }

  #remark(frame) {
    if (frame.known?.last) return `The real episode ${frame.known.terminal ? "ends" : "is cut off"} here.`;
    if (frame.con < ENDS) return `The dream expects the episode to end here (continue ${short(frame.con)}).`;
    if (this.notes) return this.notes;
    const before = this.frames.get(frame.parent);
    if (frame.known || !before?.known) return "";
    if (before.known.last) return "";
    return this.truth === "recording" ? "From here on other actions are taken than in the recording: nobody knows what really follows." : "";
  }

  // Going on.

  async step() {
    if (this.busy || this.closed) return;
    this.busy = true;
    try {
      const words = { at: this.frame.number, driver: this.driver, awake: this.awake, likely: this.likely };
      if (this.driver === "you") words.action = this.controls.value();
      const answer = await this.link.ask("step", words);
      if (this.closed) return;
      this.page.tell(null);
      this.#take(answer);
    } catch (error) {
      if (this.closed) return;
      this.#pause();
      this.page.tell(error);
    } finally {
      this.busy = false;
    }
  }

  toggle() {
    if (this.playing) this.#pause();
    else this.#run();
  }

  #pause() {
    this.playing = false;
    this.controls.drop();
    this.play.replaceChildren(icon("play"));
    this.play.setAttribute("aria-label", "Play");
  }

  async #run() {
    this.playing = true;
    this.play.replaceChildren(icon("pause"));
    this.play.setAttribute("aria-label", "Pause");
    const times = [];
    while (this.playing && !this.closed) {
      const began = performance.now();
      await this.step();
      // Who has taken over meanwhile has asked for a step.
      if (this.frame.ends && this.frame.driver === this.driver && this.playing) this.#pause();
      const rest = this.speed ? 1000 / this.speed - (performance.now() - began) : 0;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, rest)));
      times.push(performance.now());
      if (times.length > 16) times.shift();
      const each = (times.at(-1) - times[0]) / (times.length - 1);
      this.measured.textContent = times.length > 4 ? `${short(1000 / each)} steps/s` : "";
    }
  }

  #down(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const kind = target.tagName;
    if (kind === "SELECT" || kind === "TEXTAREA" || (kind === "INPUT" && !["checkbox", "range"].includes(target.type))) return;
    if (target.type === "range" && /^(Arrow|Home|End|Page)/.test(key)) return;
    if (/^(BUTTON|A|SUMMARY)$/.test(kind) && (key === " " || key === "Enter")) return;
    const own = {
      " ": () => this.toggle(), Enter: () => this.step(), ".": () => this.step(), Backspace: () => this.move(-1),
      ",": () => this.move(-1), Home: () => this.move(-Infinity), End: () => this.move(Infinity),
      p: () => this.#drives(this.driver === "policy" ? "you" : "policy"), e: () => this.eyes.press(this.awake ? "asleep" : "awake"),
    }[key];
    if (own) {
      event.preventDefault();
      if (!event.repeat || !/^[ pe]$/.test(key)) own();
      return;
    }
    if (!this.controls.keys.has(key)) return;
    event.preventDefault();
    if (this.driver !== "you") this.#drives("you"); // Whoever acts drives.
    if (event.repeat && this.playing) return;
    this.controls.press(key);
  }

  // The rest.

  async #newest() {
    if (this.busy || this.closed || this.playing) return;
    try {
      const { content } = await this.link.ask("newest");
      this.newer.hidden = content.newest <= this.about.step;
      this.newer.textContent = `Load the checkpoint of step ${short(content.newest, 6)}`;
    } catch (error) {
      if (!this.closed) this.page.tell(error);
    }
  }

  async #reload() {
    this.#pause();
    try {
      const { content } = await this.link.ask("reload");
      Object.assign(this.about, content);
      this.newer.hidden = true;
      this.page.fact.textContent = `checkpoint of step ${short(this.about.step, 6)}`;
      this.show();
    } catch (error) {
      this.page.tell(error);
    }
  }

  async #film(format) {
    this.#pause();
    this.save.disabled = true;
    try {
      const words = { at: this.frame.number, format, fps: this.speed || 15 };
      const { content, blobs } = await this.link.ask("film", words);
      const url = URL.createObjectURL(new Blob([blobs[0]]));
      h("a", { href: url, download: content.name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    } catch (error) {
      this.page.tell(error);
    } finally {
      this.save.disabled = false;
    }
  }
}
