// The page Runs.

import { get } from "./api.js";
import { h } from "./dom.js";

export async function open(root) {
  const { runs } = await get("/api/runs");
  root.append(
    h("h1", {}, "Runs"),
    runs.length ? "" : h("p", {}, "There is no run here yet."),
    h("ul", {}, runs.map((name) => h("li", {}, name))),
  );
}
