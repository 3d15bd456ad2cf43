// The page Episodes: recorded episodes frame by frame, with what the world model makes of them.

import { every, get, url } from "./api.js";
import { Chart } from "./chart.js";
import { fail, h, short } from "./dom.js";
import { runChoice } from "./choice.js";

const POLL = 15; // Seconds.
const LINES = 8; // Of a vector, one for each colour.
const SOURCES = { evaluation: "Last evaluation", replay: "Training, saved replay" };

export async function open(root, params) {
  const page = new Episodes(root, params);
  await page.start();
  return () => page.close();
}

class Episodes {
  constructor(root, params) {
    Object.assign(this, { root, params, charts: [], steps: [], at: 0, timer: 0, chosen: null });
  }

  async start() {
    this.list = h("ol", { class: "episodelist", keydown: (event) => this.#listKeys(event) });
    this.stage = h("section", { class: "details", "aria-label": "Episode" });
    const choice = await runChoice("episodes", this.params);
    this.run = choice.run;
    this.root.append(h("div", { class: "runs episodes" },
      h("aside", { class: "side", "aria-label": "Recorded episodes" }, h("h1", {}, "Episodes"), choice.element,
        this.list),
      h("div", { class: "grow-col" }, this.stage)));
    this.keys = (event) => this.#keys(event);
    addEventListener("keydown", this.keys);
    if (!this.run) {
      this.stage.append(h("p", { class: "muted none" }, "There is no run in this folder yet."));
      return;
    }
    this.episodes = await get("/api/episodes", { run: this.run });
    this.end = every(POLL, () => this.#more());
    if (!this.episodes.length) {
      this.stage.append(h("p", { class: "muted none" },
        "There is no recorded episode yet. A run saves those of its replay with its checkpoints, every run.save_every seconds, and those of an evaluation at its end."));
      return;
    }
    const named = this.episodes.find((e) => nameOf(e) === this.params.get("episode"));
    this.#show(named ?? this.episodes.find((e) => e.whole) ?? this.episodes[0]); // Not awaited: the page is open.
  }

  /** What a running training has saved meanwhile. */
  async #more() {
    const found = await get("/api/episodes", { run: this.run }).catch(() => this.episodes);
    if (JSON.stringify(found) === JSON.stringify(this.episodes)) return;
    this.episodes = found;
    if (this.chosen) this.#items();
    else this.#show(found[0]);
  }

  close() {
    removeEventListener("keydown", this.keys);
    this.end?.();
    this.#stop();
    this.request?.abort();
    for (const chart of this.charts) chart.close();
  }

  #items() {
    this.list.replaceChildren(...this.episodes.flatMap((episode, i) => {
      const current = nameOf(episode) === nameOf(this.chosen);
      const how = episode.terminal ? "terminated" : episode.whole ? "cut off" : "a part";
      const first = episode.source !== this.episodes[i - 1]?.source;
      const item = h("li", { class: current ? "chosen" : false }, h("button", { type: "button", class: "episode", tabindex: current ? 0 : -1,
        "aria-current": current, click: () => this.#show(episode) },
        h("b", {}, short(episode.score)), h("span", { class: "muted small" }, `${episode.end - episode.begin} step${episode.end - episode.begin > 1 ? "s" : ""}`),
        h("span", { class: "muted small" }, how)));
      return first ? [h("li", { class: "muted small source" }, SOURCES[episode.source]), item] : [item];
    }));
    // Not scrollIntoView, which would move the page too.
    const chosen = this.list.querySelector(".chosen");
    if (chosen) this.list.scrollTop = chosen.offsetTop - this.list.offsetTop - this.list.clientHeight / 3;
  }

  #listKeys(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...this.list.querySelectorAll("button")];
    buttons[buttons.indexOf(document.activeElement) + step]?.focus();
  }

  #keys(event) {
    if (/INPUT|SELECT|TEXTAREA/.test(event.target.tagName) || !this.steps.length) return;
    const button = event.target.tagName === "BUTTON";
    const action = {
      ArrowLeft: () => this.#seek(this.at - 1), ArrowRight: () => this.#seek(this.at + 1),
      Home: () => this.#seek(0), End: () => this.#seek(this.steps.length - 1),
      ...(button ? {} : { " ": () => this.#play() }),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  async #show(episode) {
    this.request?.abort();
    this.#stop();
    this.chosen = episode;
    this.#items();
    history.replaceState(null, "", `#/episodes?run=${encodeURIComponent(this.run)}&episode=${nameOf(episode)}`);
    for (const chart of this.charts) chart.close();
    Object.assign(this, { charts: [], steps: [], at: 0, about: null });
    const note = h("p", { class: "muted none busy" }, "Loading the world model ...");
    this.stage.replaceChildren(note);
    const request = (this.request = new AbortController());
    try {
      const { source, serial, begin, end } = episode;
      for await (const line of lines(url("/api/episode", { run: this.run, source, serial, begin, end }), request.signal)) {
        if (request.signal.aborted) return;
        if (!this.about) {
          this.about = line;
          continue;
        }
        if (!this.steps.length) this.#frame(this.about); // The first step waits for the compiler.
        this.steps.push(line);
        if (this.steps.length === 1) this.#seek(0);
        this.#later();
      }
      this.complete = true;
      this.#draw();
    } catch (error) {
      if (!request.signal.aborted) fail(this.stage, error);
    }
  }

  /** Draws what has come, not more than four times a second. */
  #later() {
    this.complete = false;
    this.due ??= setTimeout(() => {
      this.due = null;
      if (this.steps.length) this.#draw();
    }, 250);
  }

  #frame(about) {
    const images = Object.entries(about.observations).filter(([, space]) => space.kind === "image");
    this.pictures = images.map(([key]) => ({ key, truth: picture(key, "observed"), seen: picture(key, "reconstruction") }));
    this.now = h("dl", { class: "facts now" });
    this.bars = h("div", { class: "bars" });
    this.slider = h("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Step", input: () => this.#seek(Number(this.slider.value)) });
    this.playing = h("button", { type: "button", class: "primary", "aria-label": "Play", title: "Play (space)", click: () => this.#play() }, "▶");
    this.speed = h("select", { "aria-label": "Steps per second" }, [5, 15, 30, 60].map((x) => h("option", { value: x, selected: x === 15 }, `${x} / s`)));
    this.place = h("span", { class: "num place" });
    const back = h("button", { type: "button", "aria-label": "One step back", title: "Back (←)", click: () => this.#seek(this.at - 1) }, "‹");
    const on = h("button", { type: "button", "aria-label": "One step on", title: "On (→)", click: () => this.#seek(this.at + 1) }, "›");
    const { score, source, serial, begin, end } = this.chosen;
    const dream = h("button", { type: "button", click: () => {
      location.hash = `#/dream?${new URLSearchParams({ run: this.run, source, serial, row: begin + this.at })}`;
    } }, "Dream from here");
    this.status = h("span", { class: "muted" });
    this.plots = h("div", { class: "plots" });
    this.stage.replaceChildren(
      h("div", { class: "row" }, h("h2", { class: "title" }, `Score ${short(score)}`), h("span", { class: "muted" },
        `${end - begin} steps, seen by the model of step ${short(about.step)}`), this.status),
      h("div", { class: "card stage" },
        this.pictures.length ? h("div", { class: "pictures" }, this.pictures.flatMap(({ truth, seen }) => [truth, seen])) : "",
        h("div", { class: "beside" }, this.now, this.bars)),
      h("div", { class: "row controls" }, back, this.playing, on, this.slider, this.place, this.speed, dream),
      this.plots);
    this.lines = this.#plots(about);
    for (const line of this.lines) {
      const plot = h("div", {});
      this.plots.append(h("figure", { class: "card cell" }, h("figcaption", { class: "row" }, h("b", {}, line.title),
        line.legend.map(([name, color, dash]) => h("span", { class: "legend" }, h("i", { class: dash && "dashed", style: `--c: var(--${color})` }), name))),
        plot));
      line.chart = new Chart(plot, { height: 120, small: true, sync: "episode", pick: (x) => this.#seek(x), range: line.range });
      line.chart.many = true;
      this.charts.push(line.chart);
    }
  }

  /** What is drawn below: a title, a legend, and the series of the steps so far. */
  #plots(about) {
    const plain = (key, label, color, more = {}) => ({ label, color, width: 1.7, ...more, of: (step) => step[key] });
    const found = [
      { title: "Reward", series: [plain("reward", "received", "c0", { steps: true }), plain("expected", "predicted", "c1", { dash: [5, 3] })] },
      { title: "Value", series: [plain("value", "predicted", "c1"), { ...plain("", "discounted return that followed", "c0", { dash: [5, 3] }), all: () => this.#returns() }] },
      { title: "Surprise", series: [plain("surprise", "KL of posterior and prior, nats", "c3"), plain("entropy", "entropy of the prior", "c7", { width: 1, dash: [2, 3] })] },
      { title: "Continue", range: () => [-0.05, 1.05], series: [plain("continue", "probability", "c2")] },
    ];
    const vector = (part, key, i, more) => ({ width: 1.5, color: `c${i % LINES}`, ...more, of: (step) => step[part]?.[key]?.[i] });
    for (const [key, space] of Object.entries(about.actions)) {
      const size = Math.min(LINES, count(space));
      found.push({ title: key === "action" ? "Action" : `Action ${key}`, series: [...Array(size).keys()].map((i) =>
        vector("action", key, i, { label: size > 1 ? String(i) : space.kind === "discrete" ? "class" : "value", steps: true })),
        more: count(space) - size });
    }
    for (const [key, space] of Object.entries(about.observations)) {
      if (space.kind === "image") continue;
      const size = Math.min(LINES, count(space));
      found.push({ title: key === "obs" ? "Observation" : key, more: count(space) - size, series: [...Array(size).keys()].flatMap((i) => [
        vector("observed", key, i, { label: size > 1 ? String(i) : "observed" }),
        vector("seen", key, i, { label: size > 1 ? "" : "reconstruction", dash: [3, 3], width: 1, alpha: 0.8 })]) });
    }
    for (const entry of found) {
      entry.legend = entry.series.filter((s) => s.label).map((s) => [s.label, s.color, s.dash]);
      if (entry.more > 0) entry.legend.push([`and ${entry.more} more`, "line"]);
    }
    return found;
  }

  /** Returns as the value means them; where the episode was cut off, they end in its last value. */
  #returns() {
    if (!this.complete) return this.steps.map(() => null);
    const found = new Array(this.steps.length);
    const last = this.steps.at(-1);
    let later = last.terminal ? 0 : last.value;
    for (let i = this.steps.length - 1; i >= 0; i--) {
      found[i] = later;
      later = this.steps[i].reward + this.about.discount * later;
    }
    return found;
  }

  #draw() {
    const xs = this.steps.map((_, i) => i);
    for (const { chart, series } of this.lines) {
      chart.set(series.map((s) => ({ ...s, xs, ys: s.all ? s.all() : this.steps.map((step) => s.of(step) ?? null) })), "step");
    }
    const total = this.chosen.end - this.chosen.begin;
    this.slider.max = this.steps.length - 1;
    this.status.textContent = this.complete ? "" : `, ${this.steps.length} of ${total} steps so far`;
    this.#place();
  }

  #place() {
    this.place.textContent = `${this.at} / ${this.steps.length - 1}`;
  }

  #seek(step) {
    if (step == null) return;
    this.at = Math.max(0, Math.min(this.steps.length - 1, step));
    const now = this.steps[this.at];
    if (!now) return;
    this.slider.value = this.at;
    this.#place();
    for (const { key, truth, seen } of this.pictures) {
      truth.querySelector("img").src = now.observed[key];
      if (now.seen[key]) seen.querySelector("img").src = now.seen[key];
      seen.hidden = !now.seen[key];
    }
    const action = now.action
      ? Object.values(now.action).map((values) => values.slice(0, LINES).map((x) => short(x)).join(", ")).join(" | ")
      : "none: the episode ends";
    const rows = [["Action", action], ["Reward", short(now.reward)], ["Value", short(now.value)],
      ["Continue", short(now.continue)], ["Surprise", `${short(now.surprise)} nats`]];
    this.now.replaceChildren(...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    this.bars.replaceChildren(...Object.entries(this.about.actions).filter(([, space]) => space.kind === "discrete").flatMap(([key, space]) =>
      bars(key, space, now)));
    for (const chart of this.charts) chart.mark(this.at);
  }

  #play() {
    if (this.timer) {
      this.#stop();
      return;
    }
    if (this.at >= this.steps.length - 1) this.#seek(0);
    this.playing.textContent = "❚❚";
    this.playing.setAttribute("aria-label", "Pause");
    const turn = () => {
      if (this.at >= this.steps.length - 1 && this.complete) {
        this.#stop();
        return;
      }
      this.#seek(this.at + 1);
      this.timer = setTimeout(turn, 1000 / Number(this.speed.value));
    };
    this.timer = setTimeout(turn, 0);
  }

  #stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    if (!this.playing) return;
    this.playing.textContent = "▶";
    this.playing.setAttribute("aria-label", "Play");
  }
}

/** How likely the policy finds the classes of an action; that which was taken is marked. */
function bars(key, space, now) {
  const shares = now.policy[key] ?? [];
  let from = 0;
  return space.classes.slice(0, 4).map((classes, entry) => {
    const part = shares.slice(from, (from += classes)).slice(0, 18);
    return h("div", { class: "policy", role: "img", "aria-label": `Policy of ${key}` },
      h("span", { class: "muted small" }, key === "action" ? "Policy" : `Policy, ${key}`),
      h("div", { class: "columns" }, part.map((share, i) => h("span", { class: now.action?.[key]?.[entry] === i ? "taken" : false,
        title: `${i}: ${(100 * share).toFixed(1)} %` }, h("i", { style: `height: ${Math.max(2, 100 * share)}%` }), h("small", {}, String(i))))));
  });
}

function picture(key, what) {
  return h("figure", {}, h("img", { alt: `${key}, ${what}` }), h("figcaption", { class: "muted small" }, `${key === "image" ? "" : `${key}, `}${what}`));
}

const nameOf = ({ source, serial, begin }) => `${source}-${serial}-${begin}`;

const count = (space) => space.shape.reduce((a, b) => a * b, 1);

/** The lines of JSON of an answer as they come; a refused request throws the server's message. */
async function* lines(address, signal) {
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error((await answer.json()).error ?? answer.statusText);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) {
      const line = JSON.parse(part);
      if (line.error) throw new Error(line.error);
      yield line;
    }
  }
}
