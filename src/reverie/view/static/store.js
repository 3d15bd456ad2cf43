// What runs have recorded: read once, then only what is new.

import { get } from "./api.js";

const MOST = 5000; // Points after which a file is read anew, as means over more lines.
// Longer breaks, in which the run was stopped, do not count as hours of it; as in track/runs/compare.py.
const PAUSE = 900;

/** One file of records of one run: columns of numbers, texts, and what to ask for next. */
class Records {
  constructor(run, file) {
    Object.assign(this, { run, file, cursor: "", columns: {}, texts: [], length: 0, pending: null });
  }

  /** Reads what is new; says whether there was anything. Calls at the same time share one request. */
  update() {
    return (this.pending ??= this.#read().finally(() => (this.pending = null)));
  }

  async #read() {
    if (this.length > MOST) this.cursor = "";
    const part = await get("/api/records", { run: this.run, file: this.file, cursor: this.cursor });
    if (part.fresh) Object.assign(this, { columns: {}, texts: [], length: 0 });
    this.cursor = part.cursor;
    this.texts.push(...part.texts);
    const added = Math.max(0, ...Object.values(part.columns).map((column) => column.length));
    for (const [key, column] of Object.entries(part.columns)) {
      this.columns[key] ??= new Array(this.length).fill(null);
      this.columns[key].push(...column);
    }
    this.length += added;
    for (const column of Object.values(this.columns)) {
      while (column.length < this.length) column.push(null);
    }
    if (added) this.hours = hours(this.columns.time ?? []);
    return added > 0 || part.fresh;
  }

  keys() {
    return Object.keys(this.columns).filter((key) => key !== "step" && key !== "time");
  }

  /** The places where a metric has a value, over steps or hours; they ascend. */
  series(key, x = "steps") {
    const axis = x === "hours" ? this.hours : this.columns.step;
    const values = this.columns[key];
    const xs = [];
    const ys = [];
    if (!axis || !values) return { xs, ys };
    for (let i = 0; i < values.length; i++) {
      if (values[i] == null || axis[i] == null) continue;
      // A run that went back begins again where it went on.
      while (xs.length && xs.at(-1) > axis[i]) {
        xs.pop();
        ys.pop();
      }
      xs.push(axis[i]);
      ys.push(values[i]);
    }
    return { xs, ys };
  }
}

function hours(times) {
  let total = 0;
  return times.map((time, i) => {
    const past = i ? time - times[i - 1] : 0;
    if (past > 0 && past < PAUSE) total += past / 3600;
    return total;
  });
}

const kept = new Map();

/** The records of a run. */
export function records(run, file) {
  const key = `${file} ${run}`;
  if (!kept.has(key)) kept.set(key, new Records(run, file));
  return kept.get(key);
}
