// What is on the page. Everything that a model or a person wrote enters as text, never as markup.

const $ = (id) => document.getElementById(id);
let models = [];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") for (const [event, handler] of Object.entries(value)) made.addEventListener(event, handler);
    else if (value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
const button = (text, label, click, attributes = {}) =>
  element("button", { type: "button", "aria-label": label, title: label, on: { click }, ...attributes }, text);

const lanes = () => (settings.beside ? [settings.model, settings.beside] : [settings.model]);
const findModel = (name) => models.find((model) => model.id === name);
const busy = () => shownTurns().some((turn) => turn.answers.flat().some((answer) => answer.abort));

// Spans of an answer's tokens, or null where they do not spell its text (reasoning and calls lie between).
function tokenSpans(answer) {
  if (!answer.tokens?.length) return null;
  const decoder = new TextDecoder();
  const pieces = [];
  let waiting = [];
  for (const token of answer.tokens) {
    waiting.push(token);
    const text = decoder.decode(new Uint8Array(token.bytes), { stream: true });
    if (text) { pieces.push({ text, tokens: waiting }); waiting = []; }
  }
  const whole = pieces.map((piece) => piece.text).join("");
  let start = whole.indexOf(answer.content);
  if (start < 0 || !answer.content) return null;
  const end = start + answer.content.length, spans = [];
  let at = 0;
  for (const piece of pieces) {
    const shown = piece.text.slice(Math.max(0, start - at), Math.max(0, end - at));
    at += piece.text.length;
    if (shown) spans.push(tokenSpan(shown, piece.tokens));
  }
  if (spans.length) spans[0].tabIndex = 0; // the arrow keys lead to the others
  return spans;
}

function tokenSpan(text, tokens) {
  const percent = (logprob) => `${(100 * Math.exp(logprob)).toFixed(1)}%`;
  const lines = tokens.map((token) => {
    const others = token.top.map(([other, logprob]) => `${percent(logprob)}  ${JSON.stringify(other)}`);
    return [`probability ${percent(token.logprob)}`, ...others].join("\n");
  });
  const span = element("span", { class: "token", tabindex: -1, "data-tip": lines.join("\n\n") }, text);
  span.style.setProperty("--doubt", Math.min(1, -Math.min(...tokens.map((token) => token.logprob)) / 4).toFixed(2));
  return span;
}

function usageLine(answer) {
  if (!answer.usage) return "";
  const { prompt_tokens: prompt, completion_tokens: completion, prompt_tokens_details: details } = answer.usage;
  const { first_token: first, total } = answer.timings;
  const cached = details.cached_tokens;
  const saved = cached ? `${cached} of ${prompt} prompt tokens from the prefix cache (${Math.round((100 * cached) / prompt)}% not computed again)`
    : `${prompt} prompt tokens, none cached`;
  const rate = completion > 1 && total > first ? `, ${((completion - 1) / (total - first)).toFixed(1)} tokens/s` : "";
  const cut = answer.finish === "length" ? " · cut off at the token limit" : "";
  return `${saved} · first token after ${first.toFixed(2)} s · ${completion} tokens${rate}${cut}`;
}

function versions(shown, count, label, move) {
  if (count < 2) return null;
  return element("span", { class: "versions" },
    button("‹", `previous ${label}`, () => move(-1), { disabled: shown === 0 }), `${shown + 1}/${count}`,
    button("›", `next ${label}`, () => move(1), { disabled: shown === count - 1 }));
}

function stateLine(answer) {
  if (answer.abort) return answer.content || answer.reasoning || answer.calls.length ? "" : "waiting for the first token";
  if (answer.running) return "running the calls";
  if (answer.finish === "stopped") return "stopped";
  return answer.finish || answer.error ? "" : "the page was closed before this answer was complete";
}

function answerView(turn, lane, path) {
  const answer = shownAnswer(turn, lane);
  const box = element("div", { class: "answer", "aria-live": "polite" });
  box.append(element("p", { class: "who" }, answer?.model ?? lanes()[lane]));
  if (!answer) return box;
  if (answer.reasoning) {
    box.append(element("details", { class: "reasoning", open: !answer.content && Boolean(answer.abort) },
      element("summary", {}, "reasoning"), element("div", { class: "text" }, answer.reasoning)));
  }
  const text = element("div", { class: settings.shade ? "text shade" : "text" });
  const spans = answer.abort ? null : tokenSpans(answer);
  if (spans) text.append(...spans);
  else text.textContent = answer.content;
  if (answer.content || !answer.calls.length) box.append(text);
  for (const call of answer.calls) {
    box.append(element("details", { class: "call" }, element("summary", {}, `call ${call.name}`), element("pre", {}, call.arguments)));
  }
  if (answer.error) box.append(element("p", { class: "error", role: "alert" }, answer.error));
  const state = stateLine(answer);
  if (state) box.append(element("p", { class: "note" }, state));
  if (!answer.abort && answer.usage) box.append(element("p", { class: "note usage" }, usageLine(answer)));
  const move = (by) => { turn.shown[lane] += by; save(); draw(); };
  box.append(element("div", { class: "tools" },
    versions(turn.shown[lane], turn.answers[lane].length, "answer", move),
    answer.abort ? null : button("regenerate", "regenerate this answer", () => generate(path, lane)),
    button("copy", "copy this answer", () => navigator.clipboard?.writeText(answer.content))));
  if (!answer.abort && !answer.running && answer.calls.length && lane === 0) box.append(resultForm(turn, answer));
  return box;
}

// What the called functions returned, where the server does not run them: a person writes it.
function resultForm(turn, answer) {
  if (turn.turns.length) return null;
  const fields = answer.calls.map((call) => element("textarea", { rows: 2, "aria-label": `result of ${call.name}`, placeholder: `result of ${call.name}` }));
  const send = () => {
    const results = answer.calls.map((call, place) => ({ id: call.id, text: fields[place].value }));
    addTurn(turn, newTurn(undefined, results));
  };
  return element("div", { class: "results" }, ...fields, button("send results", "send the results to the model", send));
}

function questionView(turn, parent, path) {
  const box = element("div", { class: "question" });
  if (turn.results) {
    for (const result of turn.results) box.append(element("details", { class: "call" }, element("summary", {}, "tool result"), element("pre", {}, result.text)));
    return box;
  }
  const text = element("div", { class: "text" }, turn.text);
  const move = (by) => { parent.at += by; save(); draw(); };
  box.append(text, element("div", { class: "tools" },
    versions(parent.at, parent.turns.length, "version", move), button("edit", "edit this message and branch", () => edit(box, turn, parent))));
  return box;
}

function edit(box, turn, parent) {
  const field = element("textarea", { rows: 3, "aria-label": "edited message" });
  field.value = turn.text;
  const done = () => { if (field.value.trim()) addTurn(parent, newTurn(field.value)); };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); done(); }
    if (event.key === "Escape") draw();
  });
  box.replaceChildren(field, element("div", { class: "tools" }, button("send", "send the edited message", done), button("cancel", "keep the message", draw)));
  field.focus();
}

// Draws one answer anew, where it is on the page: a long conversation is not drawn again for every token.
function drawAnswer(path, lane) {
  const place = path.length - 1;
  if (shownTurns()[place] !== path[place]) return;
  $("transcript").children[place]?.querySelectorAll(".answer")[lane]?.replaceWith(answerView(path[place], lane, path));
}

function drawTranscript() {
  const turns = shownTurns(), views = [];
  let parent = current;
  turns.forEach((turn, place) => {
    const path = turns.slice(0, place + 1);
    const shown = lanes().map((_, lane) => lane).filter((lane) => lane === 0 || turn.answers[lane].length || place === turns.length - 1);
    views.push(element("article", { class: "turn" }, questionView(turn, parent, path),
      element("div", { class: shown.length > 1 ? "lanes two" : "lanes" }, ...shown.map((lane) => answerView(turn, lane, path)))));
    parent = turn;
  });
  $("transcript").replaceChildren(...views);
}

function draw() {
  drawTranscript();
  $("empty").hidden = Boolean(current.turns.length);
  $("conversations").replaceChildren(...conversations.map((conversation) => element("li", {},
    button(conversation.title, `open: ${conversation.title}`, () => { current = conversation; closeDrawer(); draw(); }, { "aria-current": conversation === current && "true" }),
    button("×", `delete: ${conversation.title}`, () => { remove(conversation); draw(); }, { class: "delete" }))));
  $("send").hidden = busy();
  $("stop").hidden = !busy();
  $("storage").hidden = !dropped;
}
