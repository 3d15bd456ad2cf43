// The connection of the page Dream: one websocket, one answer for each request.

import { url } from "./api.js";

const GONE = "The connection to the server has ended. Is `reverie view` still running?";

export class Link {
  /** Connects; gives the link and what the server tells of the run, or throws its message. */
  static async open(run) {
    const link = new Link(run);
    const about = await link.#answer();
    return { link, about: about.content };
  }

  constructor(run) {
    this.waiting = [];
    this.ended = false;
    this.socket = new WebSocket(location.origin.replace("http", "ws") + url("/api/dream", { run }));
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("message", (event) => this.#receive(event.data));
    this.socket.addEventListener("close", () => this.#end());
  }

  /** Asks for something; gives {content, blobs} or throws the server's message. */
  ask(op, words = {}) {
    if (this.ended) return Promise.reject(new Error(GONE));
    const answer = this.#answer();
    this.socket.send(JSON.stringify({ op, ...words }));
    return answer;
  }

  close() {
    this.socket.close();
  }

  #answer() {
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  #receive(data) {
    const size = new DataView(data).getUint32(0, true);
    const content = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size)));
    let start = 4 + size;
    const blobs = content.blobs.map((length) => {
      start += length;
      return data.slice(start - length, start);
    });
    const next = this.waiting.shift();
    if (content.error) next?.reject(new Error(content.error));
    else next?.resolve({ content, blobs });
  }

  #end() {
    this.ended = true;
    for (const { reject } of this.waiting.splice(0)) reject(new Error(GONE));
  }
}
