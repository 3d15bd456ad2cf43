// The page Runs: all runs, and the curves and tabs of those that are chosen.

import { every, get } from "./api.js";
import { Chart, means, smooth } from "./chart.js";
import { choice, fail, h, short, span } from "./dom.js";
import { records } from "./store.js";
import { TABS } from "./tabs.js";

const COLORS = 8;
const POLL = 4; // Seconds.
export async function open(root, params) {
  const page = new Runs(root, params);
  await page.start();
  return () => page.close();
}

class Runs {
  constructor(root, params) {
    this.root = root;
    this.wanted = [params.get("run"), ...(params.get("with")?.split("|") ?? [])].filter(Boolean);
    this.tab = params.get("tab") in TABS ? params.get("tab") : "metrics";
    this.runs = [];
    this.chosen = []; // Names; the first is the one whose details are shown.
    this.colors = new Map();
    this.published = new Map();
    this.x = localStorage.getItem("runs.x") ?? "steps";
    this.factor = Number(localStorage.getItem("runs.smoothing") ?? 0.02);
    this.reference = localStorage.getItem("runs.published") !== "no";
  }

  async start() {
    this.#frame();
    do await this.#list();
    while (this.wanted.some((name) => this.#run(name)?.waits));
    const known = this.wanted.filter((name) => this.#run(name));
    const first = this.runs.find((run) => run.state === "running") ?? this.runs[0];
    this.chosen = known.length ? known : first ? [first.name] : [];
    const read = this.#chosen();
    this.items.scrollTop = (this.#button(this.chosen[0])?.offsetTop ?? 0) - this.items.offsetTop - 60;
    await read;
    while (this.runs.some((run) => run.waits) && this.root.isConnected) await this.#list();
    if (!this.root.isConnected) return;
    this.stop = every(POLL, async () => {
      try {
        await this.#list();
        await this.#refresh();
        this.problem.replaceChildren();
      } catch (error) {
        fail(this.problem, error);
      }
    });
  }

  close() {
    this.stop?.();
    this.chart?.close();
    this.open?.close?.();
  }

  #run(name) {
    return this.runs.find((run) => run.name === name);
  }

  // The list.

  async #list() {
    const answer = await get("/api/runs");
    this.runs = answer.runs.toSorted((a, b) => (b.updated ?? 0) - (a.updated ?? 0));
    this.place.replaceChildren(h("bdi", {}, answer.root));
    this.now = answer.now;
    this.#items();
    // The first run of a folder that had none.
    if (this.stop && !this.chosen.length && this.runs.length) this.choose(this.runs[0].name);
  }

  #frame() {
    this.problem = h("div", {});
    this.place = h("p", { class: "muted small mono place" });
    this.count = h("span", { class: "muted" });
    this.search = h("input", { type: "search", placeholder: "Filter runs", "aria-label": "Filter runs",
      input: () => this.#items() });
    this.items = h("ol", { class: "runlist", keydown: (event) => this.#keys(event) });
    this.details = h("section", { class: "details", "aria-label": "Run" });
    this.root.append(
      h("div", { class: "runs" },
        h("aside", { class: "side", "aria-label": "All runs" },
          h("div", { class: "row" }, h("h1", {}, "Runs"), this.count), this.place, this.search, this.items),
        h("div", { class: "grow-col" }, this.problem, this.details)),
    );
  }

  #items() {
    const text = this.search.value.toLowerCase();
    const shown = this.runs.filter((run) => `${run.name} ${run.task} ${run.state}`.toLowerCase().includes(text));
    this.count.textContent = String(this.runs.length);
    const focused = document.activeElement?.closest?.("[data-run]")?.dataset.run;
    this.items.replaceChildren(...shown.map((run) => this.#item(run)));
    if (!this.runs.length) {
      this.items.append(h("li", { class: "empty" }, "There is no run in this folder yet. ",
        h("code", {}, "reverie train --logdir 'logdir/{timestamp}'"), " makes one; it appears here by itself."));
    } else if (!shown.length) {
      this.items.append(h("li", { class: "empty" }, "No run matches the filter."));
    }
    if (focused) this.#button(focused)?.focus({ preventScroll: true });
  }

  #item(run) {
    const chosen = this.chosen.includes(run.name);
    const slot = this.colors.get(run.name);
    const share = run.total_steps ? Math.min(1, run.steps / run.total_steps) : 0;
    const parts = run.name === "." ? [this.place.textContent.split("/").at(-1)] : run.name.split("/");
    const compare = h("input", { type: "checkbox", tabindex: -1, checked: chosen, title: "Compare (space)",
      "aria-label": `Compare ${run.name}`, change: () => this.compare(run.name),
      style: slot == null || !chosen ? false : `accent-color: var(--c${slot})` });
    const first = this.chosen[0] === run.name || (!this.chosen.length && this.runs[0] === run);
    const button = h("button", { type: "button", class: "run", tabindex: first ? 0 : -1,
      "aria-current": this.chosen[0] === run.name, click: () => this.choose(run.name) },
      h("span", { class: "name" }, parts.length > 1 && h("span", { class: "muted" }, `${parts.slice(0, -1).join("/")}/`),
        parts.at(-1)),
      h("span", { class: `state ${stateOf(run)}` }, stateOf(run)),
      h("span", { class: "line muted small" }, run.error ?? (run.waits ? "" : run.task)),
      !run.error && !run.waits && h("span", { class: "line small num" }, short(run.score)),
      !run.error && h("progress", { max: 1, value: share, "aria-label": "Progress" }));
    return h("li", { "data-run": run.name, class: chosen ? "chosen" : false }, compare, button);
  }

  #button(name) {
    return this.items.querySelector(`[data-run="${CSS.escape(name)}"] .run`);
  }

  #keys(event) {
    const buttons = [...this.items.querySelectorAll(".run")];
    const at = buttons.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && at >= 0) buttons[at + step]?.focus();
    else if (event.key === " " && at >= 0) this.compare(buttons[at].parentElement.dataset.run);
    else return;
    event.preventDefault();
  }

  // What is chosen.

  choose(name) {
    this.chosen = [name];
    this.colors.clear();
    this.#chosen();
  }

  compare(name) {
    const rest = this.chosen.filter((other) => other !== name);
    this.chosen = rest.length < this.chosen.length ? rest : [...this.chosen, name].slice(0, COLORS);
    this.#chosen();
  }

  #paint(name) {
    const used = new Set(this.chosen.map((other) => this.colors.get(other)));
    if (!this.colors.has(name)) this.colors.set(name, [...Array(COLORS).keys()].find((c) => !used.has(c)) ?? 0);
  }

  #chosen() {
    for (const name of this.colors.keys()) if (!this.chosen.includes(name)) this.colors.delete(name);
    for (const name of this.chosen) this.#paint(name);
    this.#items();
    this.#draw();
    return this.#refresh().catch((error) => fail(this.problem, error));
  }

  #address() {
    const query = new URLSearchParams();
    if (this.chosen.length) query.set("run", this.chosen[0]);
    if (this.chosen.length > 1) query.set("with", this.chosen.slice(1).join("|"));
    if (this.tab !== "metrics") query.set("tab", this.tab);
    history.replaceState(null, "", `#/runs?${query}`);
    dispatchEvent(new CustomEvent("runchange", { detail: this.chosen[0] }));
  }

  // The details.

  #draw() {
    this.chart?.close();
    this.open?.close?.();
    this.open = this.chart = null;
    this.#address();
    const run = this.#run(this.chosen[0]);
    if (!run) {
      this.details.replaceChildren();
      return;
    }
    if (run.error) {
      this.details.replaceChildren(h("h2", {}, run.name), h("div", { class: "error", role: "alert" }, run.error));
      return;
    }
    this.facts = h("dl", { class: "facts" });
    this.legend = h("div", { class: "legend" });
    const plot = h("div", { role: "img", "aria-label": "Episode scores", title: "Drag to zoom, double click to see all" });
    this.empty = h("p", { class: "muted none" });
    this.body = h("div", { class: "tab" });
    const more = this.chosen.length - 1;
    const title = run.name === "." ? this.place.textContent : run.name;
    this.details.replaceChildren(
      h("div", { class: "row" }, h("h2", { class: "title" }, title),
        more > 0 && h("span", { class: "muted" }, `compared with ${more} other${more > 1 ? "s" : ""}`)),
      this.facts,
      h("div", { class: "card" }, h("div", { class: "row tools" }, h("h2", {}, "Episode score"), h("span", { class: "grow" }),
        ...this.#tools()), this.legend, this.empty, plot),
      this.#tabs(), this.body,
    );
    this.chart = new Chart(plot, { height: innerWidth < 640 ? 230 : 320 });
    this.#open();
  }

  #tools() {
    const axis = choice("Horizontal axis", { steps: "Steps", hours: "Hours" }, (x) => {
      this.x = x;
      axis.set(x);
      localStorage.setItem("runs.x", x);
      this.#curves();
      this.open?.update?.();
    });
    axis.set(this.x);
    return [
      h("label", { class: "row small" }, "Smoothing", h("input", { type: "range", min: 0, max: 0.1, step: 0.002, value: this.factor,
        title: "Width of the Gaussian window, as a share of the axis",
        input: (event) => {
          this.factor = Number(event.target.value);
          localStorage.setItem("runs.smoothing", this.factor);
          this.#curves();
          this.open?.update?.();
        } })),
      h("label", { class: "row small reference", hidden: true }, h("input", { type: "checkbox", checked: this.reference,
        change: (event) => {
          this.reference = event.target.checked;
          localStorage.setItem("runs.published", this.reference ? "yes" : "no");
          this.#curves();
        } }), "Published"),
      axis.root,
    ];
  }

  #tabs() {
    const names = Object.keys(TABS);
    const bar = h("div", { class: "tabs", role: "tablist", keydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = names[(names.indexOf(this.tab) + step + names.length) % names.length];
      bar.querySelector(`[data-tab=${next}]`).click();
      bar.querySelector(`[data-tab=${next}]`).focus();
    } }, names.map((name) => h("button", { type: "button", role: "tab", "data-tab": name, tabindex: name === this.tab ? 0 : -1,
      "aria-selected": String(name === this.tab), click: () => {
        this.tab = name;
        for (const button of bar.children) {
          button.setAttribute("aria-selected", String(button.dataset.tab === name));
          button.tabIndex = button.dataset.tab === name ? 0 : -1;
        }
        this.#address();
        this.#open();
        this.#refresh().catch((error) => fail(this.problem, error));
      } }, TABS[name].title)));
    return bar;
  }

  #open() {
    this.open?.close?.();
    this.body.replaceChildren();
    this.open = TABS[this.tab].open(this.body, this);
  }

  /** Reads what is new of the chosen runs, and shows it. */
  async #refresh() {
    const names = this.chosen.filter((name) => !this.#run(name)?.error);
    if (!names.length || !this.chart) return;
    this.#facts(this.#run(names[0]));
    const scores = names.map((name) => records(name, "scores"));
    const changed = await Promise.all(scores.map((file) => file.update()));
    await Promise.all(names.map(async (name) => {
      if (!this.published.has(name)) this.published.set(name, await get("/api/published", { run: name }));
    }));
    if (names.join() !== this.chosen.filter((name) => !this.#run(name)?.error).join()) return;
    if (changed.some(Boolean) || !this.chart.series.length) this.#curves();
    await this.open?.refresh?.();
  }

  #facts(run) {
    const rows = [
      ["State", h("span", { class: `state ${stateOf(run)}`, title: run.why || false }, stateOf(run))],
      ["Task", run.task],
      ["Model", run.model],
      ["Steps", `${short(run.steps)} of ${short(run.total_steps)}`],
      ["Updates", short(run.updates)],
      run.left == null ? ["Trained for", span(run.seconds)] : ["Left", span(run.left)],
      ["Speed", run.speed ? `${short(run.speed)} steps/s` : "–"],
      ["Score", h("b", {}, short(run.score))],
      ["Written", `${span(this.now - run.updated)} ago`],
    ];
    this.facts.replaceChildren(...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    if (run.why) this.facts.append(h("div", { class: "why small" }, run.why));
  }

  #curves() {
    if (!this.chart) return;
    const series = [];
    const several = this.chosen.length > 1;
    for (const name of this.chosen) {
      const file = records(name, "scores");
      const paint = `c${this.colors.get(name)}`;
      const train = file.series("episode/score", this.x);
      const label = several ? name : "training";
      if (train.xs.length) {
        series.push({ label: "", color: paint, alpha: 0.35, dots: true, ...train });
        series.push({ label, color: paint, ...train, ys: smooth(train.xs, train.ys, this.factor) });
      }
      const test = file.series("eval/episode/score", this.x);
      if (test.xs.length) {
        const other = several ? paint : "c1";
        series.push({ label: "", color: other, alpha: 0.25, dots: true, ...test });
        series.push({ label: several ? `${name}, evaluation` : "evaluation", color: other, dash: [6, 4], marks: true, ...means(test) });
      }
    }
    const last = Math.max(0, ...series.map((s) => s.xs.at(-1)));
    const shown = this.chosen.map((name) => this.published.get(name)).find(Boolean);
    this.details.querySelector(".reference").hidden = !shown || this.x !== "steps";
    if (shown && this.reference && this.x === "steps") series.unshift(reference(shown, last));
    this.empty.textContent = last || shown ? "" : "No episode has ended yet.";
    this.chart.set(series, this.x === "steps" ? "environment steps" : "hours of training");
    const named = series.filter((s) => s.label && !(several && s.marks));
    this.legend.replaceChildren(...named.map((s) =>
      h("span", {}, h("i", { class: s.dash ? "dashed" : false, style: `--c: var(--${s.color})` }), s.label)));
    if (several && series.some((s) => s.marks)) {
      this.legend.append(h("span", {}, h("i", { class: "dashed", style: "--c: var(--muted)" }), "evaluation"));
    }
  }
}

/** The published curve as far as the run went, with one point more. */
function reference(curve, last) {
  const count = last ? Math.max(2, curve.steps.findIndex((x) => x >= last) + 1 || curve.steps.length) : curve.steps.length;
  const part = (values) => values.slice(0, count);
  return { label: curve.label, color: "muted", dash: [4, 3], width: 1.5, xs: part(curve.steps), ys: part(curve.score),
    low: part(curve.low), high: part(curve.high) };
}

function stateOf(run) {
  return run.error ? "unreadable" : run.waits ? "..." : run.state;
}
