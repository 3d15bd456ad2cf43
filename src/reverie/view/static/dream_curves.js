// The curves of a dream: what the heads say, and observations that are no images.

import { Chart } from "./chart.js";
import { h, short } from "./dom.js";

const WINDOW = 500; // Steps that are shown.
const LINES = 8; // Of one observation.

export class Curves {
  /** `go` takes the step of a place that was clicked. */
  constructor(about, go) {
    const plots = [...heads(), ...vectors(about)];
    // What is dreamt comes first where there are no pictures of it.
    if (!about.observations.some(({ kind }) => kind === "image")) plots.sort((a, b) => !!b.vector - !!a.vector);
    this.charts = plots.map((plot) => {
      const value = h("span", { class: "num dream-now" });
      const box = h("div", { class: "plot" });
      const unit = plot.unit ? h("span", { class: "muted" }, ` ${plot.unit}`) : "";
      const title = h("span", { title: plot.title }, h("b", {}, plot.name), unit);
      const cell = h("figure", { class: "card cell" }, h("figcaption", {}, title, value), box);
      const chart = new Chart(box, { height: 112, small: true, sync: "dream", range: plot.range, pick: go });
      chart.many = true;
      return { ...plot, chart, value, cell };
    });
    const legend = h("div", { class: "legend dream-legend" },
      h("span", {}, h("i", { style: "--c: var(--c0)" }), "dream"),
      h("span", {}, h("i", { style: "--c: var(--muted)" }), "what really happened, where it is known (of observations: dashed)"));
    this.root = h("section", { class: "dream-curves", "aria-label": "Curves" }, legend, this.charts.map(({ cell }) => cell));
    this.drawing = 0;
  }

  /** Shows a path through the dream and where it is, with the next picture of the screen. */
  show(path, pos) {
    Object.assign(this, { path, pos });
    this.drawing ||= requestAnimationFrame(() => this.#draw());
  }

  close() {
    cancelAnimationFrame(this.drawing);
    for (const { chart } of this.charts) chart.close();
  }

  #draw() {
    this.drawing = 0;
    const start = Math.max(0, Math.min(this.pos - WINDOW / 2, this.path.length - WINDOW));
    const shown = this.path.slice(start, start + WINDOW);
    const frame = this.path[this.pos];
    const xs = shown.map(({ step }) => step);
    for (const { chart, value, lines, steps } of this.charts) {
      chart.set(lines.map(([label, paint, read, look]) => ({ label, color: paint, xs, ys: shown.map(read), steps, ...look })));
      chart.mark(frame.step);
      const now = lines.length > 2 ? [] : lines.map(([label, paint, read]) => [label, paint, read(frame)]);
      value.replaceChildren(...now.filter(([, , x]) => x != null).map(([label, paint, x]) =>
        h("span", { title: label }, h("i", { style: `background: var(--${paint})` }), tidy(x))));
    }
  }
}

function heads() {
  const known = (read) => (frame) => (frame.known ? read(frame.known) : null);
  return [
    { name: "Reward", range: least(0.1), title: "Predicted on the way into each frame, and received",
      lines: [["dream", "c0", (f) => f.reward], ["truth", "muted", known((k) => k.reward)]] },
    { name: "Value", range: (u, low, high) => least(0.02 * Math.max(Math.abs(low), Math.abs(high), 1e-3))(u, low, high),
      title: "Expected return from here on, in the dream and having seen what happened",
      lines: [["dream", "c0", (f) => f.value], ["having seen", "muted", known((k) => k.value)]] },
    { name: "Continue", range: () => [0, 1.05], title: "Probability that the episode goes on",
      lines: [["dream", "c0", (f) => f.con], ["truth", "muted", known((k) => (k.terminal ? 0 : 1))]] },
    { name: "Entropy, surprise", unit: "nats", range: (_, low, high) => [Math.min(0, low), high * 1.05],
      title: "Entropy of the prior, and divergence of the posterior from it, which is what an observation tells",
      lines: [["entropy of the prior", "c0", (f) => f.entropy], ["surprise", "c1", known((k) => k.surprise)]] },
    { name: "Observation error", range: (_, low, high) => [0, high * 1.05 || 1],
      title: "Loss of what is dreamt against what happened, and of the reconstruction of what is seen",
      lines: [["dream", "c0", known((k) => k.error)], ["reconstruction", "c2", known((k) => k.seen_error)]] },
  ];
}

function vectors({ observations }) {
  return observations.filter(({ kind }) => kind !== "image").map(({ key, kind, size, shown }) => {
    const count = Math.min(shown, LINES);
    const lines = [];
    for (let i = 0; i < count; i++) {
      const paint = `c${i % 8}`;
      const index = size > 1 ? ` ${i}` : "";
      const dashed = { dash: [4, 4], width: 1.5, alpha: 0.75 };
      lines.push([`truth${index}`, paint, (f) => f.known?.truth[key]?.[i] ?? null, dashed]);
      lines.push([`dream${index}`, paint, (f) => f.dream[key]?.[i] ?? null, {}]);
    }
    const unit = size > count ? `first ${count} of ${size}` : "";
    return { name: key, unit, lines, steps: kind === "discrete", vector: true };
  });
}

/** A number without what is as good as zero. */
const tidy = (x) => short(Math.abs(x) < 1e-4 ? 0 : x);

/** A range of a chart that has at least some size. */
const least = (size) => (_, low, high) => {
  const more = Math.max(0, size - (high - low)) / 2;
  const pad = 0.05 * Math.max(size, high - low);
  return [low - more - pad, high + more + pad];
};
