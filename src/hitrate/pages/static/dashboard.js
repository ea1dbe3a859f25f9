// What pages do by themselves; without this script they show the same, in UTC, as they were loaded.
"use strict";

const POLL_MS = 4000;
const FOCUSABLE = "a, button, summary, [tabindex]";

// Tell the server where the browser is, so that days begin when they do here.
function tellTimeZone(content) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const known = document.cookie.split("; ").includes(`hitrate_timezone=${zone}`);
  if (zone && !known) {
    document.cookie = `hitrate_timezone=${zone}; path=/; max-age=31536000; samesite=lax`;
    if (document.cookie.includes(`hitrate_timezone=${zone}`) && content.dataset.zone !== zone) {
      refresh(content).catch(() => null);
    }
  }
}

// What is there by what it is called: the first, second ... of its kind and name.
function named(content, selector) {
  const counts = new Map();
  return new Map(Array.from(content.querySelectorAll(selector), (one) => {
    const called = ["href", "name", "aria-labelledby", "aria-label"].map((name) => one.getAttribute(name));
    const name = `${one.tagName} ${called.find((text) => text !== null) ?? one.textContent}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
    return [`${name} ${counts.get(name)}`, one];
  }));
}

// Somebody chooses, types or marks text: what they do would be lost.
function isBusy(content) {
  const marked = getSelection();
  return (
    content.querySelector("form :focus") !== null
    || (marked !== null && !marked.isCollapsed && content.contains(marked.anchorNode))
  );
}

// What was chosen in a form that is not sent yet.
function isChosen(select) {
  const usual = Array.from(select.options).findIndex((option) => option.defaultSelected);
  return select.selectedIndex !== Math.max(0, usual);
}

// What is opened, chosen, focused and scrolled; what it returns does so anew with what is there then.
function remember(content) {
  const elements = Array.from(named(content, FOCUSABLE));
  const focus = elements.findIndex(([, one]) => one === document.activeElement);
  const opened = Array.from(named(content, "summary")).filter(([, one]) => one.parentNode.open);
  const chosen = Array.from(named(content, "form select"))
    .filter(([, one]) => isChosen(one)).map(([name, one]) => [name, one.value]);
  const scrolled = Array.from(named(content, ".wide-table"), ([name, one]) => [name, one.scrollLeft]);
  return () => {
    const summaries = named(content, "summary");
    for (const [name] of opened) {
      if (summaries.has(name)) summaries.get(name).parentNode.open = true;
    }
    const selects = named(content, "form select");
    for (const [name, value] of chosen) {
      if (selects.has(name)) selects.get(name).value = value;
    }
    const tables = named(content, ".wide-table");
    for (const [name, left] of scrolled) {
      if (left && tables.has(name)) tables.get(name).scrollLeft = left;
    }
    if (focus < 0) return;
    const now = named(content, FOCUSABLE);
    // The ends of a period move on, and with them an address: then it is the one in that place.
    const same = now.get(elements[focus][0]) ?? Array.from(now.values())[focus];
    same?.focus({ preventScroll: true });
  };
}

// Take over what the server shows now. Whether that was done.
async function refresh(content) {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return false;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("content");
  if (!fresh || isBusy(content)) return false;
  const restore = remember(content);
  content.replaceChildren(...fresh.childNodes);
  content.dataset.zone = fresh.dataset.zone;
  prepare(content);
  restore();
  return true;
}

// Ask now and then whether anything has changed, while somebody looks.
function follow(content) {
  const { pulse: address } = content.dataset;
  let { seen } = content.dataset;
  async function look() {
    if (document.visibilityState === "visible") {
      const answer = await fetch(address, { headers: { accept: "text/plain" } }).catch(() => null);
      if ([401, 403, 404].includes(answer?.status) || answer?.redirected) return;
      if (answer?.ok) {
        const pulse = await answer.text();
        if (pulse !== seen && await refresh(content).catch(() => false)) seen = pulse;
      }
    }
    setTimeout(look, POLL_MS);
  }
  setTimeout(look, POLL_MS);
}

// One stop of the Tab key for each chart; the arrow keys go from part to part.
function prepare(content) {
  for (const drawing of content.querySelectorAll(".drawing")) {
    const parts = Array.from(drawing.querySelectorAll("a"));
    parts.forEach((part, number) => part.setAttribute("tabindex", number ? "-1" : "0"));
    // Not on the drawing: one that listens for the focus could have it.
    const around = drawing.parentNode;
    around.addEventListener("focusin", (event) => {
      for (const part of parts) part.setAttribute("tabindex", part === event.target ? "0" : "-1");
    });
    around.addEventListener("keydown", (event) => {
      const from = parts.indexOf(document.activeElement);
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: parts.length - 1 }[event.key];
      if (from < 0 || to === undefined || !parts[to]) return;
      event.preventDefault();
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
