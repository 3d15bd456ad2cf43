// The pictures of a frame: what is dreamt, what really happened, and how they differ.

import { h } from "./dom.js";

export class Pictures {
  constructor(about, real) {
    const images = about.observations.filter(({ kind }) => kind === "image");
    this.turn = 0;
    this.cells = [];
    this.root = h("div", { class: "dream-pictures" });
    for (const { key } of images) {
      const name = images.length > 1 ? ` (${key})` : "";
      if (about.decoded) this.#cell("dream", key, `Dream${name}`);
      this.#cell("truth", key, `${real}${name}`, "Not known here");
      if (about.decoded) this.#cell("error", key, `Difference${name}`, "Not known here");
    }
    if (!images.length) this.#cell("truth", "", real, "Not known here");
    // Whether there is one is seen later.
    this.root.hidden = !images.length;
  }

  #cell(kind, key, name, none = "") {
    const canvas = h("canvas", { width: 1, height: 1, role: "img", "aria-label": name });
    const figure = h("figure", { class: `dream-picture of-${kind}` }, h("div", {}, canvas, h("span", { class: "muted small" }, none)),
      h("figcaption", { class: "small muted" }, name));
    this.cells.push({ kind, key, canvas, figure });
    this.root.append(figure);
  }

  /** Draws a frame, unless another one is to be shown before its pictures are decoded. */
  async show(frame) {
    const turn = ++this.turn;
    const decoded = await Promise.all(frame.blobs.map((blob) => createImageBitmap(new Blob([blob]))));
    if (turn !== this.turn) return;
    if (decoded.length) this.root.hidden = false;
    const find = (kind, key) => decoded[frame.pictures.findIndex(([a, b]) => a === kind && b === key)];
    for (const { kind, key, canvas, figure } of this.cells) {
      const [dream, truth] = [find("dream", key), find("truth", key)];
      const shown = { dream, truth, error: dream && truth }[kind];
      figure.classList.toggle("unknown", !shown);
      figure.classList.toggle("asleep", kind === "dream" && frame.horizon > 0);
      if (!shown) continue;
      Object.assign(canvas, { width: shown.width, height: shown.height }); // Resets the pen too.
      const pen = canvas.getContext("2d");
      pen.drawImage(kind === "error" ? truth : shown, 0, 0);
      if (kind === "error") {
        pen.globalCompositeOperation = "difference";
        pen.drawImage(dream, 0, 0);
      }
    }
    for (const picture of decoded) picture.close();
  }
}
