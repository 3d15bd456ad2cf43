// Line charts on uPlot, in the colours of the page.

import { h, short } from "./dom.js";

const INCREMENTS = [...Array(16).keys()].flatMap((power) => [1, 2, 5].map((x) => x * 10 ** power));

const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);

/** What a colour of style.css is now, as the canvas takes it. */
export function color(name, alpha = 1) {
  probe.style.color = `var(--${name})`;
  const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

/**
 * A chart that fills the width of its element.
 *
 * `set(series)` takes [{label, color, xs, ys, width, alpha, dash, dots, low, high}]: xs ascend,
 * `color` is a name of style.css, `dots` draws points alone, `marks` points on the line, `steps` draws
 * steps, and `low` and `high` make a band.
 * A series without a label is not named in the readout. `pick` is called with the place of a click; `range`
 * gives the limits of the y axis for the chart, the least and the largest value.
 */
export class Chart {
  constructor(root, { height, small = false, sync = null, pick = null, range = null }) {
    Object.assign(this, { root, height, x: "", small, sync, pick, range, series: [], plot: null });
    this.readout = h("div", { class: "readout", "aria-hidden": "true" });
    root.classList.add("chart");
    root.append(this.readout);
    this.resize = new ResizeObserver(() => this.#fit());
    this.resize.observe(root);
    this.theme = () => this.#make();
    addEventListener("themechange", this.theme);
  }

  set(series, x = this.x) {
    const shape = (list) => JSON.stringify(list.map((s) => [s.label, s.color, s.dash, s.dots, s.alpha, s.marks, s.steps]));
    const same = this.plot && x === this.x && shape(series) === shape(this.series);
    this.x = x;
    this.series = series;
    if (same) this.plot.setData(this.#data());
    else this.#make();
  }

  /** Marks a place on the x axis; null takes the mark away. */
  mark(x) {
    this.marked = x;
    this.plot?.redraw(false);
  }

  close() {
    this.resize.disconnect();
    removeEventListener("themechange", this.theme);
    this.plot?.destroy();
    this.plot = null;
  }

  #lines() {
    // A band is drawn between two lines of its own, which nobody sees.
    return this.series.flatMap((s) =>
      s.low ? [{ ...s, label: "", ys: s.high, edge: true }, { ...s, label: "", ys: s.low, edge: true }, s] : [s],
    );
  }

  #data() {
    const tables = this.#lines().map((s) => [s.xs, s.ys]);
    return tables.length ? uPlot.join(tables) : [[], []];
  }

  #fit() {
    const width = Math.floor(this.root.clientWidth);
    if (!width) return;
    if (this.plot) this.plot.setSize({ width, height: this.height });
    else this.#make();
  }

  #make() {
    this.plot?.destroy();
    this.plot = null;
    const width = Math.floor(this.root.clientWidth);
    if (!width) return;
    this.plot = new uPlot(this.#options(width), this.#data(), this.root);
    if (this.pick) {
      this.plot.over.addEventListener("click", () => this.pick(this.plot.data[0][this.plot.cursor.idx]));
    }
  }

  #options(width) {
    const lines = this.#lines();
    const axis = {
      stroke: color("muted"),
      grid: { stroke: color("grid"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
      values: (_, values) => values.map((v) => (v == null ? "" : short(v, 4))),
    };
    const bands = [];
    lines.forEach((s, i) => {
      if (s.edge && lines[i + 1]?.edge) {
        bands.push({ series: [i + 1, i + 2], fill: color(s.color, 0.16) });
      }
    });
    return {
      width,
      height: this.height,
      padding: [8, this.small ? 12 : 20, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: !this.small, y: false, setScale: !this.small },
        ...(this.sync ? { sync: { key: this.sync, setSeries: false } } : {}),
      },
      scales: { x: { time: false }, y: this.range ? { range: this.range } : {} },
      axes: [
        {
          ...axis,
          size: this.small ? 22 : 26,
          label: this.small ? undefined : this.x || undefined,
          labelSize: 20,
          labelGap: 0,
          labelFont: "12px system-ui, sans-serif",
          space: this.small ? 60 : 80,
          // Steps are whole.
          ...(this.x.includes("step") ? { incrs: INCREMENTS } : {}),
          gap: 3,
        },
        { ...axis, size: this.small ? 44 : 56, space: this.small ? 30 : 40, gap: 4 },
      ],
      bands,
      series: [{}, ...lines.map((s) => this.#style(s))],
      hooks: { setCursor: [(u) => this.#read(u)], draw: [(u) => this.#draw(u)] },
    };
  }

  #style(s) {
    const stroke = color(s.color, s.edge ? 0 : (s.alpha ?? 1));
    return {
      label: s.label,
      stroke,
      width: s.edge ? 0 : (s.width ?? 2),
      dash: s.dash,
      ...(s.dots ? { paths: () => null } : {}),
      ...(s.steps ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
      points: s.dots
        ? { show: true, size: 5, width: 0, fill: stroke, stroke }
        : { show: !s.edge && (s.marks || s.ys.length === 1), size: 6, fill: stroke, stroke },
    };
  }

  /** The values at the cursor, of each line the nearest. */
  #read(u) {
    const { idx, left } = u.cursor;
    if (idx == null || left < 0) {
      this.readout.textContent = "";
      return;
    }
    const rows = [];
    this.#lines().forEach((s, i) => {
      const near = s.label ? nearest(u.data[i + 1], idx) : null;
      if (near == null) return;
      const swatch = h("i", { style: `background: var(--${s.color})` });
      const text = this.small && !this.many ? "" : s.label;
      rows.push(h("span", {}, swatch, text ? `${text} ` : "", h("b", {}, short(u.data[i + 1][near], 4))));
    });
    const unit = this.small ? "" : ` ${this.x}`;
    this.readout.replaceChildren(h("span", { class: "muted" }, short(u.data[0][idx], 4) + unit), ...rows);
  }

  #draw(u) {
    if (this.marked == null) return;
    const x = u.valToPos(this.marked, "x", true);
    const { left, top, width, height } = u.bbox;
    if (x < left || x > left + width) return;
    u.ctx.fillStyle = color("accent", 0.9);
    u.ctx.fillRect(x - devicePixelRatio, top, 2 * devicePixelRatio, height);
  }
}

function nearest(values, index) {
  for (let d = 0; d < values.length; d++) {
    if (values[index - d] != null) return index - d;
    if (values[index + d] != null) return index + d;
  }
  return null;
}

/** Means over a Gaussian window, whose deviation is a share of the axis; as in scores.png. */
export function smooth(xs, ys, share) {
  const width = share * (xs.at(-1) - xs[0]);
  if (!width) return ys;
  let from = 0;
  return ys.map((_, i) => {
    while (xs[i] - xs[from] > 3 * width) from++;
    let total = 0;
    let weights = 0;
    for (let j = from; j < xs.length && xs[j] - xs[i] <= 3 * width; j++) {
      const weight = Math.exp(-0.5 * ((xs[j] - xs[i]) / width) ** 2);
      total += weight * ys[j];
      weights += weight;
    }
    return total / weights;
  });
}

/** Means of values at the same place. */
export function means({ xs, ys }) {
  const found = { xs: [], ys: [] };
  let count = 0;
  xs.forEach((x, i) => {
    if (x !== found.xs.at(-1)) {
      found.xs.push(x);
      found.ys.push(0);
      count = 0;
    }
    count++;
    found.ys[found.ys.length - 1] += (ys[i] - found.ys.at(-1)) / count;
  });
  return found;
}
