// Fetches the page again and swaps the parts that have changed: the server renders, this only replaces.
"use strict";

const PERIOD_MS = 2000;
const PATIENCE_MS = 5000;
const stale = document.getElementById("stale");
let answered = Date.now();

async function refresh() {
  const answer = await fetch(location.pathname, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    if (fresh && fresh.innerHTML !== part.innerHTML) part.replaceChildren(...fresh.childNodes);
  }
  document.title = page.title;
}

async function turn() {
  if (!document.hidden) {
    try {
      await refresh();
      answered = Date.now();
      stale.hidden = true;
    } catch (error) {
      const seconds = Math.round((Date.now() - answered) / 1000);
      stale.textContent = `No answer for ${seconds} s (${error.message}): the figures below are old.`;
      stale.hidden = false;
    }
  }
  setTimeout(turn, PERIOD_MS);
}

setTimeout(turn, PERIOD_MS);
