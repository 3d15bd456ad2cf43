// The frame: which page is shown. An address is #/PAGE?KEY=VALUE; a module per page exports
// `open(root, params)`, which fills an element and returns what closes the page (or nothing). A page
// that changes the run tells with the event `runchange`.

import { fail, h } from "./dom.js";

const PAGES = {
  runs: { title: "Runs", load: () => import("./runs.js") },
  episodes: { title: "Episodes", load: () => import("./episodes.js") },
  dream: { title: "Dream", load: () => import("./dream.js") },
};

const nav = document.getElementById("nav");
const main = document.getElementById("page");
let close = null;
let turn = 0;

for (const [name, page] of Object.entries(PAGES)) {
  nav.append(h("a", { href: `#/${name}`, "data-page": name }, page.title));
}

/** The run that is looked at stays chosen on the other pages. */
function follow(run) {
  for (const link of nav.children) {
    link.href = `#/${link.dataset.page}${run ? `?run=${encodeURIComponent(run)}` : ""}`;
  }
}

async function show() {
  const [, name, query] = /^#\/(\w+)\??(.*)$/.exec(location.hash) ?? [null, "runs", ""];
  const page = PAGES[name] ?? PAGES.runs;
  const mine = ++turn;
  close?.();
  close = null;
  document.title = `${page.title} - Reverie`;
  const params = new URLSearchParams(query);
  for (const link of nav.children) {
    link.ariaCurrent = PAGES[link.dataset.page] === page ? "page" : null;
  }
  follow(params.get("run"));
  const root = h("div", { class: "page" });
  main.replaceChildren(root);
  try {
    const opened = await (await page.load()).open(root, params);
    if (mine === turn) close = opened ?? null;
    else opened?.();
  } catch (error) {
    if (mine === turn) fail(root, error);
  }
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const now = root.dataset.theme ?? system;
  root.dataset.theme = now === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  dispatchEvent(new Event("themechange"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  dispatchEvent(new Event("themechange")),
);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("runchange", (event) => follow(event.detail));
addEventListener("hashchange", show);
show();
