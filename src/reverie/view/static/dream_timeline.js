// All frames of a dream as lanes: one per branch, the present path above all in colour.

import { color } from "./chart.js";
import { h } from "./dom.js";

const LANE = 16;
const STEP = 12;

export class Timeline {
  /** `go` takes the number of a frame that was chosen, `move` a number of steps. */
  constructor(root, { go, move }) {
    this.canvas = h("canvas", {
      tabindex: 0, role: "slider", "aria-label": "Frame of the dream", "aria-valuemin": 0,
      click: (event) => this.#click(event),
      keydown: (event) => {
        const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[event.key];
        if (steps === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        move(steps);
      },
    });
    this.box = h("div", { class: "dream-lanes" }, this.canvas);
    root.append(this.box);
    Object.assign(this, { go, frames: [], lanes: new Map(), path: [], pos: 0 });
    this.resize = new ResizeObserver(() => this.draw());
    this.resize.observe(this.box);
    this.theme = () => this.draw();
    addEventListener("themechange", this.theme);
  }

  /** Takes a new frame: it follows in the lane of its parent, or begins one. */
  add(frame) {
    const before = this.frames.findLast((other) => other.parent === frame.parent);
    const goes = frame.parent == null || !before;
    this.count = goes ? (this.count ?? 1) : this.count + 1;
    this.lanes.set(frame.number, goes ? (this.lanes.get(frame.parent) ?? 0) : this.count - 1);
    this.frames.push(frame);
  }

  show(path, pos) {
    Object.assign(this, { path, pos });
    this.canvas.setAttribute("aria-valuemax", path.length - 1);
    this.canvas.setAttribute("aria-valuenow", pos);
    const frame = path[pos];
    this.canvas.setAttribute("aria-valuetext",
      `step ${frame.step}, ${frame.horizon ? `${frame.horizon} steps asleep` : "awake"}`);
    this.draw();
  }

  close() {
    this.resize.disconnect();
    removeEventListener("themechange", this.theme);
  }

  #place(frame) {
    return [10 + frame.step * this.width, 11 + this.lanes.get(frame.number) * LANE];
  }

  draw() {
    const room = this.box.clientWidth;
    if (!room || !this.frames.length) return;
    const steps = Math.max(...this.frames.map((frame) => frame.step), 1);
    this.width = Math.max(2, Math.min(STEP, (room - 20) / steps));
    const wide = Math.max(room, 20 + steps * this.width);
    const high = 22 + (this.count - 1) * LANE;
    const scale = devicePixelRatio;
    this.canvas.width = wide * scale;
    this.canvas.height = high * scale;
    this.canvas.style.width = `${wide}px`;
    this.canvas.style.height = `${high}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.lineCap = "round";
    const inPath = new Set(this.path.map((frame) => frame.number));
    const all = new Map(this.frames.map((frame) => [frame.number, frame]));
    const sorted = [...this.frames].sort((a, b) => inPath.has(a.number) - inPath.has(b.number));
    const colors = { awake: color("good"), asleep: color("dream") };
    for (const frame of sorted) {
      const [x, y] = this.#place(frame);
      const paint = frame.horizon ? colors.asleep : colors.awake;
      pen.globalAlpha = inPath.has(frame.number) ? 1 : 0.3;
      pen.strokeStyle = pen.fillStyle = paint;
      pen.lineWidth = 3;
      if (frame.parent != null) {
        const [a, b] = this.#place(all.get(frame.parent));
        pen.beginPath();
        pen.moveTo(a, b);
        if (b !== y) pen.bezierCurveTo(a + (x - a) / 2, b, a + (x - a) / 3, y, x, y);
        else pen.lineTo(x, y);
        pen.stroke();
      }
      if (frame.ends) {
        pen.fillRect(x - 1.5, y - 7, 3, 14);
      } else if (this.width > 7) {
        pen.beginPath();
        pen.arc(x, y, 3, 0, 7);
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
    const [x, y] = this.#place(this.path[this.pos]);
    pen.beginPath();
    pen.arc(x, y, 6, 0, 7);
    pen.fillStyle = color("card");
    pen.fill();
    pen.lineWidth = 3;
    pen.strokeStyle = color("ink");
    pen.stroke();
    this.#follow(x, y);
  }

  #follow(x, y) {
    const { box } = this;
    if (x < box.scrollLeft + 20 || x > box.scrollLeft + box.clientWidth - 20) box.scrollLeft = x - box.clientWidth / 2;
    if (y < box.scrollTop || y > box.scrollTop + box.clientHeight - 8) box.scrollTop = y - box.clientHeight / 2;
  }

  #click(event) {
    const [x, y] = [event.offsetX, event.offsetY];
    const away = (frame) => {
      const [a, b] = this.#place(frame);
      return Math.abs(a - x) + 3 * Math.abs(b - y);
    };
    const near = this.frames.reduce((a, b) => (away(b) < away(a) ? b : a));
    this.go(near.number);
  }
}
