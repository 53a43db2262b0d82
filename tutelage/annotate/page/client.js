"use strict";

// Requests to the server. A submission is kept in the browser until the server has said that it is saved.
let keyed, writes, tiesAllowed, key, person; // set when the page is there
const byId = (id) => document.getElementById(id);

function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch { return null; }
}

// The key is in the part of the address that browsers send to nobody; it is taken out of what the address line shows.
function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    keep("annotate-key", given);
    history.replaceState(null, "", location.pathname);
  }
  return given || keep("annotate-key") || "";
}

function readPage() {
  const { dataset } = byId("desk");
  [keyed, writes, tiesAllowed] = [dataset.keyed, dataset.task === "write", dataset.ties].map(Boolean);
  key = keyed ? takeKey() : "";
  person = keyed ? "" : keep("annotator") || "";
}

class Refused extends Error {
  constructor(status, error) { super(error.message); this.status = status; this.code = error.code; }
}

// The answer of the server. Throws Refused where it says no, TypeError where it cannot be reached.
async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(`api/${path}`, { method: "POST", headers, body: JSON.stringify({ person, ...body }) });
  if (response.ok) return response.json();
  let error = { message: `the server answers with status ${response.status}` };
  try { error = (await response.json()).error; } catch { /* not from this server */ }
  throw new Refused(response.status, error);
}

// 32 characters that no other submission has. crypto.randomUUID exists on secure pages only.
const freshId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
const pendingPrefix = () => `pending ${keyed ? key : person} `;
const unsaved = new Map(); // submissions by id, as JSON; also in the browser's storage, where it has one
const wait = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

function keepUnsaved(submission) {
  const text = JSON.stringify(submission);
  unsaved.set(submission.id, text);
  keep(pendingPrefix() + submission.id, text);
}

function dropUnsaved(id) {
  unsaved.delete(id);
  keep(pendingPrefix() + id, null);
}

// What a page that was closed, or another window, has not got an answer to.
function findUnsaved() {
  const prefix = pendingPrefix();
  try {
    for (const name of Object.keys(localStorage)) {
      if (name.startsWith(prefix)) unsaved.set(name.slice(prefix.length), localStorage.getItem(name));
    }
  } catch { /* no storage: only this page knows them */ }
}

// Send each submission that is kept, again and again, until it is saved or refused.
async function sendUnsaved(say) {
  for (const [id, text] of [...unsaved]) {
    for (let delay = 500; unsaved.has(id); delay = Math.min(delay * 2, 8000)) {
      try {
        await post("submit", { submission: JSON.parse(text) });
        dropUnsaved(id);
        say("");
      } catch (error) {
        if (error instanceof Refused && error.status < 500) {
          dropUnsaved(id);
          throw error;
        }
        say(`not saved yet, trying again: ${error.message}`);
        await wait(delay);
      }
    }
  }
}
