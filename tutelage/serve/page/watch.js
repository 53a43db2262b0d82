// Asks the server whether the files have changed, and puts the new content in place of the old: what is open stays open.

const EVERY = 2000; // milliseconds
const SHARE = 10; // at most one part in so many of the time goes into new pages: the training needs the processor
let shownVersion = null;

async function current() {
  const response = await fetch("/version");
  if (!response.ok) throw new Error(response.status);
  return (await response.json()).version;
}

function say(text, lost) {
  let note = document.getElementById("watching");
  if (!note) {
    note = document.querySelector("main > header").appendChild(document.createElement("p"));
    note.id = "watching";
    note.setAttribute("role", "status");
  }
  note.textContent = text;
  note.classList.toggle("lost", lost);
}

async function replaceContent() {
  const response = await fetch(location.href);
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const summary = (details) => details.querySelector("summary")?.textContent;
  const open = new Set([...document.querySelectorAll("details[open]")].map(summary));
  document.querySelector(".frame").replaceWith(fresh.querySelector(".frame"));
  for (const details of document.querySelectorAll("details")) if (open.has(summary(details))) details.open = true;
  hideTip();
  document.querySelectorAll(".plot").forEach(watchPlot);
  document.querySelectorAll(".tokens").forEach(watchTokens);
  if (document.querySelector(".contents")) followContents();
}

async function look() {
  let wait = EVERY;
  try {
    if (document.hidden) return;
    const version = await current();
    if (shownVersion !== null && version !== shownVersion) {
      const began = performance.now();
      await replaceContent();
      wait = Math.max(EVERY, SHARE * (performance.now() - began));
    }
    shownVersion = version;
    say(`Up to date at ${new Date().toLocaleTimeString()}`, false);
  } catch (error) {
    say(`Not up to date: ${error instanceof TypeError ? "the server does not answer" : error.message}`, true);
  } finally {
    setTimeout(look, wait);
  }
}

addEventListener("DOMContentLoaded", look);
