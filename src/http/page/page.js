// Keeps the page up to date: fetches it again and puts the new middle in the place of the old one. What is outside of
// #live, such as the search, keeps its focus and its text. Without this script the page is whole, and reloads by hand.
"use strict";

const EVERY = 5000;
const live = document.getElementById("live");
const link = document.getElementById("link");

function tell(text, lost) {
  if (link.textContent !== text) {
    link.textContent = text;
    link.classList.toggle("lost", lost);
  }
}

// Names the element that has the focus, so that it can get it back when its twin has taken its place.
function focused() {
  const element = document.activeElement;
  return element && live.contains(element) && element.getAttribute("href");
}

async function refresh() {
  if (document.hidden) {
    return;
  }
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(EVERY) });
    if (!answer.ok && answer.status !== 404) {
      throw new Error(String(answer.status));
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const middle = fresh.getElementById("live");
    if (!middle) {
      throw new Error("no page");
    }
    const href = focused();
    live.replaceChildren(...middle.childNodes);
    document.title = fresh.title;
    if (href) {
      live.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
    }
    tell("live", false);
  } catch {
    tell("the bridge does not answer; these figures are old", true);
  }
}

tell("live", false);
setInterval(refresh, EVERY);
document.addEventListener("visibilitychange", refresh);
