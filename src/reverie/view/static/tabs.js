// The tabs below the curves. `open(root, page)` fills an element and returns what follows the page:
// `refresh` is called when there may be new records, `update` when axis or smoothing change.

import { get, url } from "./api.js";
import { fail, h } from "./dom.js";
import { openMetrics } from "./metrics.js";
import { records } from "./store.js";

export const TABS = {
  metrics: { title: "Metrics", open: openMetrics },
  config: { title: "Config", open: openConfig },
  doctor: { title: "Doctor", open: openDoctor },
  media: { title: "Media", open: openMedia },
  notes: { title: "Notes", open: openNotes },
};

/** Options: of one run those that are not the defaults, of several those that differ. */
function openConfig(root, page) {
  const names = page.chosen;
  const search = h("input", { type: "search", placeholder: "Search options", "aria-label": "Search options", input: draw });
  const all = h("input", { type: "checkbox", change: draw });
  const table = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Options" });
  const about = names.length > 1 ? "Options in which the runs differ" : "Options that are not the defaults";
  let configs = [];
  root.append(h("div", { class: "row tools" }, h("h2", {}, about), h("span", { class: "grow" }), search,
    h("label", { class: "row small" }, all, "All options")), table);

  function draw() {
    const text = search.value.toLowerCase();
    const keys = [...new Set(configs.flatMap((config) => Object.keys(config.options)))].filter((key) => {
      if (!key.toLowerCase().includes(text)) return false;
      if (all.checked) return true;
      return names.length > 1
        ? new Set(configs.map((config) => config.options[key])).size > 1
        : configs[0].changed.includes(key);
    });
    const changed = (config, key) => (config.changed.includes(key) ? false : "muted");
    table.replaceChildren(keys.length ? h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Option"), names.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, keys.map((key) => h("tr", {}, h("th", { scope: "row", class: "mono" }, key),
        configs.map((config) => h("td", { class: "mono" }, h("span", { class: changed(config, key) }, config.options[key] ?? "–")))))),
    ) : h("p", { class: "muted none" }, text ? "No option matches." : "There are none."));
  }

  Promise.all(names.map((name) => get("/api/config", { run: name }))).then((found) => {
    configs = found;
    draw();
  }, (error) => fail(table, error));
}

const found = new Map(); // Run -> what the doctor said last.

function openDoctor(root, page) {
  const run = page.chosen[0];
  const lines = h("div", { "aria-live": "polite" });
  const button = h("button", { type: "button", class: "primary", click: examine }, "Examine this run");
  root.append(
    h("div", { class: "row tools" }, h("h2", {}, "Is this run healthy?"), h("span", { class: "grow" }), button),
    h("p", { class: "muted small" }, "Reads the records and lets the newest checkpoint predict what is in replay. ",
      "Takes up to a minute or two of one core; the run is only read."),
    lines,
  );
  if (found.has(run)) draw(found.get(run));

  async function examine() {
    button.disabled = true;
    lines.replaceChildren(h("p", { class: "muted busy" }, "Examining ..."));
    try {
      found.set(run, { ...(await get("/api/doctor", { run })), at: new Date() });
      draw(found.get(run));
    } catch (error) {
      fail(lines, error);
    }
    button.disabled = false;
  }

  function draw(result) {
    const verdict = { healthy: "No problem was found in what can be judged.", warning: "There are warnings.", sick: "Something is sick." };
    const order = { sick: 0, warning: 1, healthy: 2, unknown: 3 };
    const sorted = result.lines.toSorted((a, b) => order[a.level] - order[b.level]);
    lines.replaceChildren(
      h("p", { class: `verdict ${result.verdict}` }, verdict[result.verdict] ?? result.verdict,
        h("span", { class: "muted small" }, ` ${result.at.toLocaleTimeString()}`)),
      h("ul", { class: "lines" }, sorted.map((line) => h("li", { class: line.level },
        h("span", { class: `level ${line.level}` }, line.level), h("b", {}, line.about), h("span", {}, line.says),
        line.advice && h("span", { class: "advice" }, line.advice)))),
    );
  }
}

function openMedia(root, page) {
  const run = page.chosen[0];
  const grid = h("div", { class: "media" });
  let shown = "";
  root.append(h("h2", {}, "Films and pictures"), grid);

  async function refresh() {
    const files = await get("/api/media", { run });
    const now = JSON.stringify(files);
    if (now === shown) return;
    shown = now;
    grid.replaceChildren(...files.map((entry) => {
      const source = url("/api/file", { run, file: entry.file, changed: entry.changed });
      const picture = entry.kind === "video"
        ? Object.assign(h("video", { src: source, controls: true, loop: true, preload: "metadata", playsinline: true }), { muted: true })
        : h("a", { href: source, target: "_blank", rel: "noopener" }, h("img", { src: source, alt: entry.file, loading: "lazy" }));
      return h("figure", { class: "card" }, picture, h("figcaption", { class: "small" }, entry.file,
        h("span", { class: "muted" }, ` ${new Date(entry.changed * 1000).toLocaleString()}`)));
    }));
    if (!files.length) {
      grid.replaceChildren(h("p", { class: "muted none" }, "None yet. Reports of images appear here every run.report_every seconds; ",
        h("code", {}, "reverie eval RUN --video"), " films episodes."));
    }
  }

  refresh().catch((error) => fail(grid, error));
  return { refresh };
}

function openNotes(root, page) {
  const file = records(page.chosen[0], "notes");
  const list = h("ol", { class: "notes" });
  root.append(h("h2", {}, "What the run has said"), list);

  function draw() {
    const notes = file.texts.filter(([, key]) => key === "note");
    list.replaceChildren(...notes.toReversed().map(([time, , text]) =>
      h("li", {}, h("time", { class: "muted small" }, new Date(time * 1000).toLocaleString()), h("span", {}, text))));
    if (!notes.length) list.append(h("li", { class: "muted none" }, "No message yet."));
  }

  async function refresh() {
    if ((await file.update()) || !list.childElementCount) draw();
  }

  refresh().catch((error) => fail(list, error));
  if (file.texts.length) draw();
  return { refresh };
}
