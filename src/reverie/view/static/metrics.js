// The tab Metrics: a small chart of every metric, those alone that are looked at.

import { Chart, smooth } from "./chart.js";
import { fail, h, short } from "./dom.js";
import { records } from "./store.js";

const FIRST = ["episode", "eval", "train/loss", "train", "train/opt", "fps", "replay", "env", "usage", "report"];

export function openMetrics(root, page) {
  const tab = new Metrics(root, page);
  tab.refresh().catch((error) => fail(root, error));
  return tab;
}

class Metrics {
  constructor(root, page) {
    this.page = page;
    this.charts = new Map(); // Element -> chart, of those in sight.
    this.drawn = "";
    this.search = h("input", { type: "search", placeholder: "Search metrics  ( / )", "aria-label": "Search metrics",
      value: sessionStorage.getItem("metrics.search") ?? "", input: () => {
        sessionStorage.setItem("metrics.search", this.search.value);
        this.#grid();
      } });
    this.count = h("span", { class: "muted small" });
    this.groups = h("div", {});
    root.append(h("div", { class: "row tools" }, h("h2", {}, "Metrics"), this.count, h("span", { class: "grow" }), this.search), this.groups);
    this.sight = new IntersectionObserver((entries) => {
      for (const entry of entries) entry.isIntersecting ? this.#show(entry.target) : this.#hide(entry.target);
    }, { rootMargin: "200px" });
    this.slash = (event) => {
      if (event.key !== "/" || /INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName)) return;
      event.preventDefault();
      this.search.focus();
    };
    addEventListener("keydown", this.slash);
  }

  close() {
    removeEventListener("keydown", this.slash);
    this.sight.disconnect();
    for (const chart of this.charts.values()) chart.close();
    this.charts.clear();
    this.closed = true;
  }

  async refresh() {
    const files = this.page.chosen.map((name) => records(name, "metrics"));
    const changed = await Promise.all(files.map((file) => file.update()));
    if (this.closed) return;
    const keys = [...new Set(files.flatMap((file) => file.keys()))].sort().join();
    if (keys !== this.drawn) this.#grid();
    else if (changed.some(Boolean)) this.update();
  }

  update() {
    for (const [element, chart] of this.charts) this.#fill(element, chart);
  }

  #grid() {
    for (const chart of this.charts.values()) chart.close();
    this.charts.clear();
    this.sight.disconnect();
    const keys = [...new Set(this.page.chosen.flatMap((name) => records(name, "metrics").keys()))].sort();
    this.drawn = keys.join();
    const shown = keys.filter(matcher(this.search.value));
    this.count.textContent = shown.length === keys.length ? String(keys.length) : `${shown.length} of ${keys.length}`;
    const groups = new Map();
    for (const key of shown) {
      const group = key.startsWith("train/") && !/^train\/(loss|opt)\//.test(key) ? "train" : key.split("/").slice(0, -1).slice(0, 2).join("/") || "other";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(key);
    }
    const place = (name) => {
      const at = [name, name.split("/")[0]].map((part) => FIRST.indexOf(part)).find((index) => index >= 0);
      return at ?? FIRST.length;
    };
    const sorted = [...groups].sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b));
    this.groups.replaceChildren(...sorted.map(([group, members]) => h("section", {}, h("h3", { class: "group" }, group),
      h("div", { class: "grid" }, members.map((key) => this.#cell(group, key))))));
    if (!shown.length) {
      this.groups.append(h("p", { class: "muted none" }, keys.length ? "No metric matches." : "No metrics were written yet: they come every run.log_every seconds."));
    }
  }

  #cell(group, key) {
    const name = key.startsWith(`${group}/`) ? key.slice(group.length + 1) : key;
    const cell = h("figure", { class: "card cell", "data-key": key }, h("figcaption", { title: key }, h("span", { class: "mono" }, name), h("b", {})), h("div", { class: "plot" }));
    this.sight.observe(cell);
    return cell;
  }

  #show(cell) {
    if (this.charts.has(cell)) return;
    const chart = new Chart(cell.querySelector(".plot"), { height: 130, small: true, sync: "metrics" });
    chart.many = this.page.chosen.length > 1;
    this.charts.set(cell, chart);
    this.#fill(cell, chart);
  }

  #hide(cell) {
    this.charts.get(cell)?.close();
    this.charts.delete(cell);
    cell.querySelector(".plot").replaceChildren();
  }

  #fill(cell, chart) {
    const { chosen, colors, factor, x } = this.page;
    const series = chosen.flatMap((name) => {
      const { xs, ys } = records(name, "metrics").series(cell.dataset.key, x);
      const paint = `c${colors.get(name)}`;
      const line = { label: name, color: paint, xs, ys: smooth(xs, ys, factor), width: 1.7 };
      return xs.length ? [...(factor ? [{ label: "", color: paint, alpha: 0.25, width: 1, xs, ys }] : []), line] : [];
    });
    cell.querySelector("b").textContent = chosen.length === 1 && series.length ? short(series[0].ys.at(-1), 4) : "";
    chart.set(series, x);
  }
}

/** Whether a name matches: words that all occur in it, or a regular expression. */
function matcher(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let pattern = null;
  try {
    pattern = new RegExp(text, "i");
  } catch {
    // Not one yet: it is still being typed.
  }
  return (key) => words.every((word) => key.toLowerCase().includes(word)) || Boolean(text && pattern?.test(key));
}
