// The choice of a run, for pages that look at one.

import { get } from "./api.js";
import { h } from "./dom.js";

/** A list of all runs; says which one is chosen: that of the address, or else the newest. */
export async function runChoice(page, params) {
  let answer;
  do answer = await get("/api/runs");
  while (answer.runs.some((run) => run.waits));
  const runs = answer.runs.filter((run) => !run.error).toSorted((a, b) => b.updated - a.updated);
  const run = (runs.find((run) => run.name === params.get("run")) ?? runs[0])?.name;
  const option = ({ name, task }) => h("option", { value: name, selected: name === run },
    name === "." ? task : `${name}  (${task})`);
  const choose = () => (location.hash = `#/${page}?run=${encodeURIComponent(element.value)}`);
  const element = h("select", { "aria-label": "Run", class: "choice", change: choose }, runs.map(option));
  if (run) dispatchEvent(new CustomEvent("runchange", { detail: run }));
  return { run, element };
}
