"use strict";

// Conversations, kept in this browser. A conversation is a tree of turns: editing a question adds a turn beside it.
// A turn has the answers of two lanes: the model, and the one beside it. Regenerating adds an answer to a lane.

const STORE = "tutelage.conversations", SETTINGS = "tutelage.settings";
const DEFAULTS = {
  model: "", beside: "", system: null, tools: "", temperature: 0.7, top_p: 1, top_k: 0, min_p: 0, max_tokens: "", seed: "",
  stop_string: "", key: "", shade: false,
};

function readStored(name, otherwise) {
  try { return JSON.parse(localStorage.getItem(name)) ?? otherwise; } catch { return otherwise; }
}
function writeStored(name, value) {
  try { localStorage.setItem(name, JSON.stringify(value)); return true; } catch { return false; }
}

const settings = { ...DEFAULTS, ...readStored(SETTINGS, {}) };
let conversations = readStored(STORE, []);
let current = null;
let dropped = false; // whether the storage is full or forbidden

const newId = () => Math.random().toString(36).slice(2, 10);
const newTurn = (text, results) => ({ id: newId(), text, results, answers: [[], []], shown: [0, 0], turns: [], at: 0 });

function newConversation() {
  current = { id: newId(), title: "", turns: [], at: 0 };
}

function save() {
  if (current.turns.length && !conversations.includes(current)) conversations.unshift(current);
  // The alternatives of each token would fill the storage in a few conversations; they last as long as the page.
  const slim = (key, value) => (key === "tokens" || key === "abort" || key === "running" ? undefined : value);
  const plain = JSON.parse(JSON.stringify(conversations, slim));
  dropped = !writeStored(STORE, plain);
}

function remove(conversation) {
  conversations = conversations.filter((other) => other !== conversation);
  if (current === conversation) newConversation();
  save();
}

// The turns that are shown, from the first on.
function shownTurns(conversation = current) {
  const path = [];
  for (let at = conversation; at.turns.length; at = at.turns[at.at]) path.push(at.turns[at.at]);
  return path;
}

const shownAnswer = (turn, lane) => turn.answers[lane][turn.shown[lane]];

// The messages that a lane's answer to the last of these turns is asked for with.
function messagesUpTo(turns, lane) {
  const messages = settings.system ? [{ role: "system", content: settings.system }] : [];
  turns.forEach((turn, place) => {
    if (turn.results) {
      for (const result of turn.results) messages.push({ role: "tool", tool_call_id: result.id, content: result.text });
    } else messages.push({ role: "user", content: turn.text });
    if (place === turns.length - 1) return;
    const answer = shownAnswer(turn, lane) ?? shownAnswer(turn, 1 - lane);
    if (!answer) return;
    const message = { role: "assistant", content: answer.content || (answer.calls.length ? null : "…") };
    if (answer.reasoning) message.reasoning_content = answer.reasoning;
    if (answer.calls.length) {
      message.tool_calls = answer.calls.map((call) => ({
        id: call.id, type: "function", function: { name: call.name, arguments: call.arguments },
      }));
    }
    messages.push(message);
  });
  return messages;
}
