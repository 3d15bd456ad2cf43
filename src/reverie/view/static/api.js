// Requests to the server.

/** Asks for JSON; a refused request throws the server's message. */
export async function get(path, params = {}) {
  let answer;
  try {
    answer = await fetch(url(path, params));
  } catch {
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

/** The address of something on the server. */
export const url = (path, params) => `${path}?${new URLSearchParams(params)}`;

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
