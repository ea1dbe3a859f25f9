// What pages do by themselves; without this script they show the same, in UTC, as they were loaded.
"use strict";

const POLL_MS = 4000;

// Tell the server where the browser is, so that days begin when they do here.
function tellTimeZone(content) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const known = document.cookie.split("; ").includes(`hitrate_timezone=${zone}`);
  if (zone && !known) {
    document.cookie = `hitrate_timezone=${zone}; path=/; max-age=31536000; samesite=lax`;
    if (document.cookie.includes(`hitrate_timezone=${zone}`) && content.dataset.zone !== zone) {
      refresh(content);
    }
  }
}

// Where something is on the page: its number among the things that can be focused or opened.
function marks(content, selector) {
  return Array.from(content.querySelectorAll(selector));
}

// Take over what the server shows now; keep what is opened, focused, and scrolled.
async function refresh(content) {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("content");
  if (!fresh || content.querySelector("select:focus, input:focus")) return;
  const focusable = "a, button, summary, [tabindex]";
  const focused = marks(content, focusable).indexOf(document.activeElement);
  const open = marks(content, "details").map((one) => one.open);
  content.replaceChildren(...fresh.childNodes);
  content.dataset.zone = fresh.dataset.zone;
  marks(content, "details").forEach((one, number) => { one.open = open[number] ?? false; });
  prepare(content);
  if (focused >= 0) marks(content, focusable)[focused]?.focus({ preventScroll: true });
}

// Ask now and then whether anything has changed, while somebody looks.
function follow(content) {
  const address = content.dataset.pulse;
  let last = null;
  async function look() {
    if (document.visibilityState === "visible") {
      const answer = await fetch(address, { headers: { accept: "text/plain" } }).catch(() => null);
      if (answer?.status === 401 || answer?.status === 403 || answer?.redirected) return;
      if (answer?.ok) {
        const pulse = await answer.text();
        if (last !== null && pulse !== last) await refresh(content).catch(() => null);
        last = pulse;
      }
    }
    setTimeout(look, POLL_MS);
  }
  look();
}

// One stop of the Tab key for each chart; the arrow keys go from part to part.
function prepare(content) {
  for (const drawing of content.querySelectorAll(".drawing")) {
    const parts = Array.from(drawing.querySelectorAll("a"));
    parts.forEach((part, number) => part.setAttribute("tabindex", number ? "-1" : "0"));
    drawing.addEventListener("keydown", (event) => {
      const from = parts.indexOf(document.activeElement);
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: parts.length - 1 }[event.key];
      if (from < 0 || to === undefined || !parts[to]) return;
      event.preventDefault();
      parts[from].setAttribute("tabindex", "-1");
      parts[to].setAttribute("tabindex", "0");
      parts[to].focus();
    });
  }
  for (const button of content.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(button));
  }
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    // Browsers allow the clipboard on https and on this computer only.
    getSelection().selectAllChildren(text);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

const content = document.getElementById("content");
if (content) {
  prepare(content);
  tellTimeZone(content);
  if (content.dataset.pulse) follow(content);
}
