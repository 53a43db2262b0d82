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
const pendingName = () => `pending ${keyed ? key : person}`;
const wait = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

// Send the submission that is kept, again and again, until it is saved or refused; null where none is kept.
async function sendPending(say) {
  const text = keep(pendingName());
  if (!text) return null;
  for (let delay = 500; ; delay = Math.min(delay * 2, 8000)) {
    try {
      const answer = await post("submit", { submission: JSON.parse(text) });
      keep(pendingName(), null);
      return answer;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) {
        keep(pendingName(), null);
        throw error;
      }
      say(`not saved yet, trying again: ${error.message}`);
      await wait(delay);
    }
  }
}
