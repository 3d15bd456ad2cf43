// The page Dream: choose a run and where its dream begins. An address may name run, source, serial and row.

import { runChoice } from "./choice.js";
import { fail, h, short } from "./dom.js";
import { Link } from "./dream_link.js";
import { View } from "./dream_view.js";

const LOOK_PAUSE = 80;

export async function open(root, params) {
  const { run, element } = await runChoice("dream", params);
  if (!run) {
    root.append(h("h1", {}, "Dream"), h("p", { class: "muted" }, "There is no run here yet. A dream needs one with a checkpoint."));
    return null;
  }
  const page = new Page(root, element, run, params);
  page.connect();
  return () => page.close();
}

class Page {
  constructor(root, list, run, params) {
    Object.assign(this, { run, params, link: null, view: null, closed: false });
    this.fact = h("span", { class: "muted small" });
    this.tools = h("span", { class: "row" });
    this.alert = h("div", { class: "error", role: "alert", hidden: true });
    this.body = h("div", { class: "dream-body" });
    root.append(h("div", { class: "row dream-head" }, h("h1", {}, "Dream"), list, this.fact, h("span", { class: "grow" }), this.tools),
      this.alert, this.body);
  }

  async connect() {
    this.#wait("Loading the newest checkpoint");
    try {
      const { link, about } = await Link.open(this.run);
      if (this.closed) return link.close();
      Object.assign(this, { link, about });
      this.choose();
    } catch (error) {
      if (this.closed) return;
      fail(this.body, error);
      this.body.append(h("p", {}, h("button", { type: "button", click: () => this.connect() }, "Try again")));
    }
  }

  close() {
    this.closed = true;
    this.view?.close();
    this.link?.close();
  }

  /** Chooses anew, from what a running training has saved meanwhile too. */
  async again() {
    let problem = null;
    try {
      Object.assign(this.about, (await this.link.ask("episodes")).content);
    } catch (error) {
      problem = error;
    }
    if (this.closed) return;
    this.choose();
    this.tell(problem);
  }

  /** The ways in which a dream may begin. */
  choose() {
    this.view?.close();
    this.view = null;
    this.tell(null);
    this.tools.replaceChildren();
    this.fact.textContent = `checkpoint of step ${short(this.about.step, 6)}`;
    const seed = number("Seed of the draws", 0, 0, 2 ** 31 - 1);
    this.body.replaceChildren(
      h("p", { class: "muted dream-lead" }, "Drive the world model yourself, or let the policy drive. The model first ",
        "watches a few real steps; then it sees nothing more, and every frame is its own."),
      h("div", { class: "dream-starts" }, this.#reality(seed), this.#replay(seed)),
      h("div", { class: "row small dream-seed" }, seed.label, h("span", { class: "muted" }, "Equal seeds and actions give equal dreams.")),
    );
  }

  #reality(seed) {
    const observed = number("Steps to watch", 5, 1, 64);
    const episode = number("Episode", 0, 0, 2 ** 31 - 1);
    const begin = h("button", { type: "button", class: "primary", click: () =>
      this.#begin("reset", { observed: observed.value(), episode: episode.value(), seed: seed.value() }) }, "Begin beside the environment");
    return h("section", { class: "card dream-start" }, h("h2", {}, "A fresh episode, reality beside it"),
      h("p", { class: "muted" }, "Dream and environment see the same first steps of a new episode, then part: both take the same ",
        "actions, and you see where the dream goes wrong. Wake it up at any time."),
      h("div", { class: "row" }, observed.label, episode.label), begin);
  }

  #replay(seed) {
    const card = h("section", { class: "card dream-start" }, h("h2", {}, "A recorded step, the dream alone"),
      h("p", { class: "muted" }, "As long as the recorded actions are taken, what really followed is shown beside the dream."));
    const { episodes } = this.about;
    if (!episodes.length) {
      card.append(h("p", { class: "none" }, "No episode was saved yet."));
      return card;
    }
    const observed = number("Steps to watch", 5, 1, 64);
    const list = h("select", { "aria-label": "Recorded episode", change: () => turn() },
      ["evaluation", "replay"].map((source) => {
        const first = episodes.findIndex((e) => e.source === source);
        return first < 0 ? "" : h("optgroup", { label: source === "replay" ? "Training" : "Last evaluation" }, episodes.flatMap((episode, i) =>
          episode.source === source ? [h("option", { value: i }, describe(episode, i - first))] : []));
      }));
    const wanted = [this.params.get("serial"), this.params.get("row")].map((x) => (x == null ? NaN : Number(x)));
    const given = episodes.findIndex((e) => e.source === this.params.get("source") && e.serial === wanted[0] && e.begin <= wanted[1] && wanted[1] < e.end);
    if (given >= 0) list.value = given;
    const place = h("input", { type: "range", min: 0, "aria-label": "Step of the episode", input: () => look() });
    const told = h("output", { class: "small num" });
    const pictures = h("div", { class: "dream-look" });
    let timer = 0;
    const look = () => {
      const episode = episodes[list.value];
      told.textContent = `step ${place.value} of ${episode.end - episode.begin - 1}`;
      clearTimeout(timer);
      timer = setTimeout(() => this.#look(pictures, episode.source, episode.serial, episode.begin + Number(place.value)), LOOK_PAUSE);
    };
    const turn = () => {
      const episode = episodes[list.value];
      place.max = episode.end - episode.begin - 1;
      place.value = given >= 0 && Number(list.value) === given ? wanted[1] - episode.begin
        : Math.min(observed.value(), Math.floor(place.max / 2));
      look();
    };
    turn();
    const begin = h("button", { type: "button", class: "primary", click: () => {
      const episode = episodes[list.value];
      const row = episode.begin + Number(place.value);
      this.#begin("replay", { source: episode.source, serial: episode.serial, row, observed: observed.value(), seed: seed.value() });
    } }, "Begin at this step");
    card.append(h("div", { class: "row" }, list, observed.label), h("div", { class: "dream-place" }, place, told), pictures, begin);
    return card;
  }

  async #look(root, source, serial, row) {
    if (!this.about.observations.some(({ kind }) => kind === "image")) return;
    try {
      const { content, blobs } = await this.link.ask("look", { source, serial, row });
      root.replaceChildren(...blobs.map((blob, i) => {
        const url = URL.createObjectURL(new Blob([blob]));
        return h("img", { src: url, alt: content.pictures[i], load: () => URL.revokeObjectURL(url) });
      }));
    } catch (error) {
      this.tell(error);
    }
  }

  async #begin(op, words) {
    this.tell(null);
    const before = [...this.body.childNodes];
    this.#wait("Preparing the dream. The first one compiles the model, which takes up to a minute");
    try {
      const answer = await this.link.ask(op, words);
      if (this.closed) return;
      this.body.replaceChildren();
      this.view = new View(this, answer);
    } catch (error) {
      if (this.closed) return;
      console.debug(error);
      this.body.replaceChildren(...before);
      this.tell(error);
    }
  }

  #wait(text) {
    this.body.replaceChildren(h("p", { class: "busy muted", role: "status" }, text));
  }

  /** Shows an error or a note above the page; null takes it away. */
  tell(error) {
    this.alert.hidden = !error;
    this.alert.textContent = error?.message ?? error ?? "";
  }
}

/** A labelled field for a whole number. */
function number(name, value, min, max) {
  const input = h("input", { type: "number", value, min, max, step: 1 });
  return {
    label: h("label", { class: "row dream-number" }, h("span", {}, name), input),
    value: () => Math.min(max, Math.max(min, Math.round(Number(input.value) || 0))),
  };
}

function describe({ begin, end, score, whole, terminal }, i) {
  const part = whole ? (terminal ? "" : ", cut by a limit") : ", in part";
  return `${i ? `${i} before the newest` : "newest"}: score ${short(score)}, ${end - begin} steps${part}`;
}
