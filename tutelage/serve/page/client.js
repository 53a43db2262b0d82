// Asking the server: one streamed request for each answer.

const headers = () => ({ "Content-Type": "application/json", ...(settings.key && { Authorization: `Bearer ${settings.key}` }) });

async function explain(response) {
  try { return (await response.json()).error.message; } catch { return `the server answered ${response.status}`; }
}

async function fetchModels() {
  const response = await fetch("v1/models", { headers: headers() });
  if (!response.ok) throw new Error(await explain(response));
  return (await response.json()).data;
}

// The tools that the server runs, in OpenAI's format.
let serverTools = [];
async function fetchTools() {
  const response = await fetch("v1/tools", { headers: headers() });
  serverTools = response.ok ? (await response.json()).data : [];
}

// What the server's tools return to the calls of an answer, in their order.
async function callTools(model, calls) {
  const response = await fetch("v1/tools/call", { method: "POST", headers: headers(), body: JSON.stringify({ model, calls }) });
  if (!response.ok) throw new Error(await explain(response));
  return (await response.json()).data;
}

// The JSON of each event of a stream.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (held + value).split("\n\n");
    held = blocks.pop();
    for (const block of blocks) if (block.startsWith("data: ") && block !== "data: [DONE]") yield JSON.parse(block.slice(6));
  }
}

function requestBody(model, turns, lane) {
  const number = (value) => (value === "" || value === null ? undefined : Number(value));
  const body = {
    model: model.id, stream: true, stream_options: { include_usage: true }, temperature: number(settings.temperature),
    top_p: number(settings.top_p), top_k: number(settings.top_k), min_p: number(settings.min_p),
    max_tokens: number(settings.max_tokens), seed: number(settings.seed), stop: settings.stop_string ? [settings.stop_string] : undefined,
  };
  if (!model.chats) {
    // A base model continues a text: the messages so far, without any markers.
    const before = turns.slice(0, -1).flatMap((turn) => [turn.text, (shownAnswer(turn, lane) ?? shownAnswer(turn, 1 - lane))?.content]);
    const text = [...before, turns[turns.length - 1].text].filter(Boolean).join("\n");
    // It ends nowhere by itself.
    return ["v1/completions", { ...body, prompt: text, logprobs: 5, max_tokens: body.max_tokens ?? Math.min(256, model.context >> 1) }];
  }
  const tools = settings.tools.trim() ? JSON.parse(settings.tools) : serverTools.length ? serverTools : undefined;
  const messages = messagesUpTo(turns, lane);
  return ["v1/chat/completions", { ...body, messages, tools, logprobs: true, top_logprobs: 5 }];
}

function addDelta(answer, delta) {
  answer.content += delta.content ?? "";
  answer.reasoning += delta.reasoning_content ?? "";
  for (const call of delta.tool_calls ?? []) {
    if (call.id) answer.calls.push({ id: call.id, name: call.function.name, arguments: call.function.arguments });
    else answer.calls[call.index].arguments += call.function.arguments;
  }
}

function addTokens(answer, logprobs) {
  for (const entry of logprobs?.content ?? []) {
    const top = entry.top_logprobs.map((other) => [other.token, other.logprob]);
    answer.tokens.push({ bytes: entry.bytes, logprob: entry.logprob, top });
  }
  (logprobs?.tokens ?? []).forEach((token, place) => {
    const top = Object.entries(logprobs.top_logprobs[place] ?? {}).sort((a, b) => b[1] - a[1]);
    const spelled = token.startsWith("bytes:") ? token.slice(6).split("\\x").slice(1).map((hex) => parseInt(hex, 16)) : null;
    answer.tokens.push({ bytes: spelled ?? [...new TextEncoder().encode(token)], logprob: logprobs.token_logprobs[place], top });
  });
}

// Fill an answer as it arrives; `changed` is called after each event. Never throws: what fails is the answer's error.
async function ask(model, turns, lane, answer, changed) {
  answer.abort = new AbortController();
  try {
    const [path, body] = requestBody(model, turns, lane);
    const response = await fetch(path, {
      method: "POST", headers: headers(), body: JSON.stringify(body), signal: answer.abort.signal,
    });
    if (!response.ok) throw new Error(await explain(response));
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const choice = event.choices[0];
      if (choice) {
        if (choice.delta) addDelta(answer, choice.delta);
        else answer.content += choice.text;
        addTokens(answer, choice.logprobs);
        answer.finish = choice.finish_reason ?? answer.finish;
      }
      if (event.usage) Object.assign(answer, { usage: event.usage, timings: event.timings });
      changed();
    }
    if (!answer.finish) throw new Error("the connection ended before the answer did");
  } catch (error) {
    if (error.name === "AbortError") answer.finish = "stopped";
    else if (error instanceof SyntaxError) answer.error = `the tools are no JSON: ${error.message}`;
    else answer.error = error instanceof TypeError ? `the server does not answer (${error.message})` : error.message;
  }
  answer.abort = null;
  changed();
}
