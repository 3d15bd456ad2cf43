// Requests to the server.

/** Asks for JSON; a refused request throws the server's message. */
export async function get(path, params = {}, options = {}) {
  let answer;
  try {
    answer = await fetch(url(path, params), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is `reverie view` still running?");
  }
  const text = await answer.text();
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Error(text || `${answer.status} ${answer.statusText}`);
  }
  if (!answer.ok) throw new Error(content.error ?? answer.statusText);
  return content;
}

/** The address of something on the server; null and undefined are left out. */
export function url(path, params = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) if (value != null) query.set(key, value);
  return query.size ? `${path}?${query}` : path;
}

/** A websocket to the server. */
export function socket(path, params = {}) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return new WebSocket(`${scheme}://${location.host}${url(path, params)}`);
}

/** Calls a function now and then while the page is visible; returns what ends it. */
export function every(seconds, action) {
  let timer = 0;
  let ended = false;
  let busy = false;
  const turn = async () => {
    if (ended || busy || document.hidden) return;
    clearTimeout(timer);
    busy = true;
    await action();
    busy = false;
    if (!ended) timer = setTimeout(turn, seconds * 1000);
  };
  document.addEventListener("visibilitychange", turn);
  timer = setTimeout(turn, seconds * 1000);
  return () => {
    ended = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", turn);
  };
}
