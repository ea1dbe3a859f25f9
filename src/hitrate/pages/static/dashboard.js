// Progressive enhancement of the dashboard. Without this script, pages show the same content, in
// UTC, as of the time they were loaded.
"use strict";

const POLL_INTERVAL_MS = 4000;
const FOCUSABLE = "a, button, summary, [tabindex]";

// Send the browser's time zone to the server in a cookie, so that days begin at local midnight.
function sendTimeZone(content) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const cookie = `hitrate_timezone=${zone}`;
  if (!zone || document.cookie.split("; ").includes(cookie)) return;
  document.cookie = `${cookie}; path=/; max-age=31536000; samesite=lax`;
  if (document.cookie.includes(cookie) && content.dataset.zone !== zone) {
    refresh(content).catch(() => null);
  }
}

// Elements by a key that survives a refresh: tag, name and position among those with the same name.
function elementsByKey(content, selector) {
  const counts = new Map();
  return new Map(Array.from(content.querySelectorAll(selector), (element) => {
    const names = ["href", "name", "aria-labelledby", "aria-label"].map((name) => element.getAttribute(name));
    const key = `${element.tagName} ${names.find((name) => name !== null) ?? element.textContent}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    return [`${key} ${counts.get(key)}`, element];
  }));
}

// Whether a refresh would interrupt the user, who is filling in a form or has selected text.
function isBusy(content) {
  const selection = getSelection();
  return (
    content.querySelector("form :focus") !== null
    || (selection !== null && !selection.isCollapsed && content.contains(selection.anchorNode))
  );
}

// Whether the user has changed the value of a select in a form that is not submitted yet.
function isChanged(select) {
  const initial = Array.from(select.options).findIndex((option) => option.defaultSelected);
  return select.selectedIndex !== Math.max(0, initial);
}

// Save open details, changed selects, focus and scroll positions. Returns a function that restores
// them in the new content.
function saveState(content) {
  const focusable = Array.from(elementsByKey(content, FOCUSABLE));
  const focusIndex = focusable.findIndex(([, element]) => element === document.activeElement);
  const open = Array.from(elementsByKey(content, "summary"))
    .filter(([, summary]) => summary.parentNode.open).map(([key]) => key);
  const changed = Array.from(elementsByKey(content, "form select"))
    .filter(([, select]) => isChanged(select)).map(([key, select]) => [key, select.value]);
  const scrolled = Array.from(elementsByKey(content, ".table-scroll"), ([key, table]) => [key, table.scrollLeft]);
  return () => {
    const summaries = elementsByKey(content, "summary");
    for (const key of open) {
      if (summaries.has(key)) summaries.get(key).parentNode.open = true;
    }
    const selects = elementsByKey(content, "form select");
    for (const [key, value] of changed) {
      if (selects.has(key)) selects.get(key).value = value;
    }
    const tables = elementsByKey(content, ".table-scroll");
    for (const [key, left] of scrolled) {
      if (left && tables.has(key)) tables.get(key).scrollLeft = left;
    }
    if (focusIndex < 0) return;
    const current = elementsByKey(content, FOCUSABLE);
    // A link to a period has a new URL when the period moves on; then focus the link at the same position.
    const element = current.get(focusable[focusIndex][0]) ?? Array.from(current.values())[focusIndex];
    element?.focus({ preventScroll: true });
  };
}

// Replace the content by a new rendering from the server. Returns whether it was replaced.
async function refresh(content) {
  const response = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!response.ok || response.redirected) return false;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const newContent = page.getElementById("content");
  if (!newContent || isBusy(content)) return false;
  const restoreState = saveState(content);
  content.replaceChildren(...newContent.childNodes);
  content.dataset.zone = newContent.dataset.zone;
  enhance(content);
  restoreState();
  return true;
}

// Poll the version of the data while the page is visible, and refresh the content when it changes.
function followUpdates(content) {
  const { versionUrl } = content.dataset;
  let { version } = content.dataset;
  async function poll() {
    if (document.visibilityState === "visible") {
      const response = await fetch(versionUrl, { headers: { accept: "text/plain" } }).catch(() => null);
      if ([401, 403, 404].includes(response?.status) || response?.redirected) return;
      if (response?.ok) {
        const newVersion = await response.text();
        if (newVersion !== version && await refresh(content).catch(() => false)) version = newVersion;
      }
    }
    setTimeout(poll, POLL_INTERVAL_MS);
  }
  setTimeout(poll, POLL_INTERVAL_MS);
}

// Make each chart one tab stop with arrow keys between its links, and connect the copy buttons.
function enhance(content) {
  for (const drawing of content.querySelectorAll(".drawing")) {
    const links = Array.from(drawing.querySelectorAll("a"));
    links.forEach((link, index) => link.setAttribute("tabindex", index ? "-1" : "0"));
    // Not on the drawing itself: an SVG element with a focus listener becomes focusable.
    const plot = drawing.parentNode;
    plot.addEventListener("focusin", (event) => {
      for (const link of links) link.setAttribute("tabindex", link === event.target ? "0" : "-1");
    });
    plot.addEventListener("keydown", (event) => {
      const from = links.indexOf(document.activeElement);
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: links.length - 1 }[event.key];
      if (from < 0 || to === undefined || !links[to]) return;
      event.preventDefault();
      links[to].focus();
    });
  }
  for (const button of content.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(button));
  }
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    button.textContent = "Copied";
  } catch {
    // Browsers allow clipboard access over HTTPS and on localhost only.
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

const content = document.getElementById("content");
if (content) {
  enhance(content);
  sendTimeZone(content);
  if (content.dataset.versionUrl) followUpdates(content);
}
