// One item at a time: shown, kept as a draft each second, submitted.
const IDLE_SECONDS = 60; // without a key or a move of the mouse, the clock stops
let item = null, work = null, dirty = false, idle = 0, busy = false;
let last = 0; // the number of the item that was shown last

const emptyWork = (count) => ({ ranks: Array(count).fill(null), text: "", suggested: false, all_bad: false, flags: [], reason: "", seconds: 0 });

function say(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

function changed() {
  dirty = true;
  byId("saved").textContent = "";
}

function show(got) {
  const { progress } = got;
  const each = progress.seconds === null ? "" : `, ${Math.round(progress.seconds)} s each`;
  byId("progress").textContent = `${progress.done} done of up to ${progress.items}${each}`;
  byId("who").hidden = true;
  byId("work").hidden = false;
  byId("item").hidden = Boolean(got.done);
  byId("done").hidden = !got.done;
  byId("saved").textContent = got.submitted ? "submitted; you may change it" : "";
  item = got.done ? null : got;
  byId("after").disabled = !item?.submitted;
  byId("before").disabled = false;
  dirty = false;
  if (!item) return;
  const kept = item.draft || (item.submitted && { ...item.submitted, all_bad: item.submitted.outcome === "all bad" });
  work = { ...emptyWork(item.answers.length), ...kept };
  byId("prompt").replaceChildren(...item.prompt.map((turn) => {
    const box = element("div", "", { class: `turn ${turn.role === "assistant" ? "assistant" : "user"}` });
    box.append(element("span", turn.role, { class: "who" }), turn.content);
    return box;
  }));
  byId("reason").value = work.reason;
  for (const flag of document.querySelectorAll("[name=flag]")) flag.checked = work.flags.includes(flag.value);
  last = item.number;
  byId("before").disabled = last === 0;
  showClock();
  if (writes) showWriting(item);
  else {
    byId("all-bad").setAttribute("aria-pressed", String(work.all_bad));
    showAnswers(item.answers);
  }
  scrollTo(0, 0);
}

function showClock() {
  byId("clock").textContent = `${Math.floor(work.seconds / 60)}:${String(work.seconds % 60).padStart(2, "0")}`;
}

async function load(number) {
  try {
    show(await post("next", number === undefined ? {} : { number }));
    return true;
  } catch (error) {
    say(error.message);
    return false;
  }
}

async function saveDraft() {
  dirty = false;
  const { number, revision } = item;
  try {
    const { saved } = await post("draft", { number, draft: { ...work, revision } });
    if (item && item.number === number && !dirty) byId("saved").textContent = saved ? "draft saved" : "";
  } catch (error) {
    dirty = true;
    say(error.message);
  }
}

async function submit(outcome) {
  if (busy || !item) return;
  busy = true;
  say("");
  const { number, revision } = item, { ranks, text, suggested, flags, reason, seconds } = work;
  keepUnsaved({ id: freshId(), number, revision, outcome, ranks, text, suggested, flags, reason, seconds });
  await sendAndGoOn();
  busy = false;
}

async function sendAndGoOn() {
  const at = item?.number;
  try {
    await sendUnsaved(say);
    await load();
  } catch (error) {
    say(error.message);
    if (error.code === "revision_conflict" && at !== undefined) await load(at);
  }
}

async function begin() {
  if (!keyed) {
    person = byId("person").value.trim();
    keep("annotator", person);
  }
  say("");
  findUnsaved();
  byId("work").hidden = false;
  await sendAndGoOn();
  if (!item && byId("done").hidden) {
    byId("who").hidden = false;
  }
}

// The item after this one, or a new one; what is not submitted stays a draft.
async function after() {
  if (item?.submitted && await load(item.number + 1)) return;
  say("");
  await load();
}

function listenToControls() {
  byId("begin").addEventListener("click", begin);
  byId("submit").addEventListener("click", () => submit(work.all_bad ? "all bad" : "done"));
  byId("skip").addEventListener("click", () => submit("skipped"));
  byId("before").addEventListener("click", () => { if (!item || last > 0) load(item ? last - 1 : last); });
  byId("after").addEventListener("click", after);
  byId("all-bad")?.addEventListener("click", () => {
    work.all_bad = !work.all_bad;
    byId("all-bad").setAttribute("aria-pressed", String(work.all_bad));
    changed();
    showRanks();
  });
  byId("reason").addEventListener("input", () => { work.reason = byId("reason").value; changed(); });
  for (const flag of document.querySelectorAll("[name=flag]")) {
    flag.addEventListener("change", () => {
      work.flags = [...document.querySelectorAll("[name=flag]:checked")].map((box) => box.value);
      changed();
    });
  }
}

function pressed(event) {
  idle = 0;
  const typing = /^(INPUT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
  if (event.key === "Enter" && event.target.id === "person") return void begin();
  if (writes && event.key === "Enter" && (event.ctrlKey || event.metaKey) && !byId("submit").disabled) return void submit("done");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") byId("keys").open = !byId("keys").open;
  else if (!item || writes) return;
  else if (event.key === "Enter" && !event.target.closest("summary, button:not([tabindex='-1'])")) {
    if (!byId("submit").disabled) byId("submit").click();
  } else if (event.key === "x") byId("all-bad").click();
  else if (event.key === "s") byId("skip").click();
  else if (event.key === "ArrowLeft") byId("before").click();
  else if (event.key === "ArrowRight") byId("after").click();
  else if (!rankKey(event.key)) return;
  event.preventDefault();
}

function tick() {
  if (!item || busy || document.visibilityState !== "visible") return;
  idle += 1;
  if (idle <= IDLE_SECONDS) {
    work.seconds += 1;
    showClock();
  }
  if (dirty) saveDraft();
}

addEventListener("DOMContentLoaded", () => {
  readPage();
  listenToControls();
  if (writes) listenToWriting();
  addEventListener("keydown", pressed);
  addEventListener("pointermove", () => { idle = 0; });
  setInterval(tick, 1000);
  if (person || key) {
    if (!keyed) byId("person").value = person;
    begin();
  } else byId("who").hidden = false;
  if (matchMedia("(max-width: 760px)").matches) byId("guidelines")?.removeAttribute("open");
});
