// Sending, stopping, settings, keys.

const FIELDS = ["system", "tools", "temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "stop_string", "key"];

function addTurn(parent, turn) {
  parent.turns.push(turn);
  parent.at = parent.turns.length - 1;
  if (!current.title) current.title = (turn.text ?? "").slice(0, 60);
  generateAll();
}

function generateAll() {
  lanes().forEach((_, lane) => generate(shownTurns(), lane));
}

function generate(path, lane) {
  const model = findModel(lanes()[lane]);
  const turn = path[path.length - 1];
  if (!model) return;
  const answer = { model: model.id, content: "", reasoning: "", calls: [], tokens: [], finish: null, error: "" };
  turn.answers[lane].push(answer);
  turn.shown[lane] = turn.answers[lane].length - 1;
  let asked = false;
  const changed = () => {
    if (!answer.abort) { save(); draw(); return; }
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; const end = atEnd(); drawAnswer(path, lane); if (end) scrollTo(0, document.body.scrollHeight); });
  };
  const running = ask(model, path, lane, answer, changed).then(() => runCalls(path, lane, answer));
  save();
  draw();
  scrollTo(0, document.body.scrollHeight);
  return running;
}

// Where the server has all tools that an answer calls, it runs them, and the model gets the results.
const MOST_ROUNDS = 8;
async function runCalls(path, lane, answer) {
  const turn = path[path.length - 1];
  const known = answer.calls.every((call) => serverTools.some((tool) => tool.function.name === call.name));
  let rounds = 0;
  while (rounds < path.length && path[path.length - 1 - rounds].results) rounds += 1;
  if (lane !== 0 || answer.finish !== "tool_calls" || !known || rounds >= MOST_ROUNDS) return;
  answer.running = true;
  draw();
  let results = null;
  try { results = await callTools(answer.model, answer.calls); } catch (error) { answer.error = error.message; }
  answer.running = false;
  if (results && shownTurns().at(-1) === turn) addTurn(turn, newTurn(undefined, results));
  else draw();
}

const atEnd = () => innerHeight + scrollY >= document.body.scrollHeight - 80;

function stopAll() {
  for (const turn of shownTurns()) for (const answer of turn.answers.flat()) answer.abort?.abort();
}

function send() {
  const text = $("message").value;
  if (!text.trim() || busy() || !models.length) return;
  $("message").value = "";
  const turns = shownTurns();
  addTurn(turns[turns.length - 1] ?? current, newTurn(text));
}

function begin() {
  newConversation();
  closeDrawer();
  draw();
  $("message").focus();
}

function closeDrawer() { document.body.classList.remove("drawer"); }

function fillModels() {
  const option = (model) => element("option", { value: model.id }, model.chats ? model.id : `${model.id} (base)`);
  $("model").replaceChildren(...models.map(option));
  $("beside").replaceChildren(element("option", { value: "" }, "none"), ...models.map(option));
  if (!findModel(settings.model)) settings.model = (models.find((model) => model.chats) ?? models[0])?.id ?? "";
  if (!findModel(settings.beside)) settings.beside = "";
  $("model").value = settings.model;
  $("beside").value = settings.beside;
  if (settings.system === null) settings.system = $("system").value = findModel(settings.model)?.system ?? "";
}

async function connect() {
  try {
    // Both at once: between the models and what is drawn from them nobody must get in.
    [models] = await Promise.all([fetchModels(), fetchTools()]);
    $("tools").placeholder = serverTools.length ? `the server's: ${serverTools.map((tool) => tool.function.name).join(", ")}` : "";
    $("problem").hidden = true;
  } catch (error) {
    $("problem").textContent = `${error.message}. Is the server running, and the key right?`;
    $("problem").hidden = false;
  }
  fillModels();
  draw();
}

// The probability of a token, under the mouse or with the arrow keys.
function watchTokenTips(transcript) {
  const show = (event) => {
    const token = event.target.closest(".token");
    if (token) showTip(token.dataset.tip, token.getClientRects()[0], event.type === "focusin");
    else hideTip();
  };
  transcript.addEventListener("mouseover", show);
  transcript.addEventListener("focusin", show);
  transcript.addEventListener("mouseleave", hideTip);
  transcript.addEventListener("focusout", hideTip);
  transcript.addEventListener("keydown", (event) => {
    const here = event.target.closest(".token");
    const next = here && { ArrowLeft: here.previousSibling, ArrowRight: here.nextSibling }[event.key];
    if (!next) return;
    event.preventDefault();
    here.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

function setUp() {
  for (const name of FIELDS) {
    $(name).value = settings[name] ?? "";
    $(name).addEventListener("change", () => {
      settings[name] = $(name).value;
      writeStored(SETTINGS, settings);
      if (name === "key") connect();
    });
  }
  for (const name of ["model", "beside"]) {
    $(name).addEventListener("change", () => { settings[name] = $(name).value; writeStored(SETTINGS, settings); draw(); });
  }
  $("shade").checked = settings.shade;
  $("shade").addEventListener("change", () => { settings.shade = $("shade").checked; writeStored(SETTINGS, settings); draw(); });
  $("send").addEventListener("click", send);
  $("stop").addEventListener("click", stopAll);
  $("new").addEventListener("click", begin);
  $("menu").addEventListener("click", () => document.body.classList.toggle("drawer"));
  document.addEventListener("click", (event) => { if (!event.target.closest("#drawer, #menu")) closeDrawer(); });
  $("message").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { stopAll(); closeDrawer(); }
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    const turns = shownTurns();
    if (event.key === "/") { event.preventDefault(); $("message").focus(); }
    if (event.key === "n") { event.preventDefault(); begin(); }
    if (event.key === "r" && turns.length && !busy()) generateAll();
    if (event.key === "?") $("keys").open = !$("keys").open;
  });
  watchTokenTips($("transcript"));
  newConversation();
  draw();
  connect();
}

addEventListener("DOMContentLoaded", setUp);
