"""The server where the model writes what a test wants: its logits are those of a script. Tool calls, stop strings, ends
and characters over several tokens, streamed and whole: invariant 7 (S numbers: reported against other servers)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import torch
from served import CHAT, HELLO, TEXT, Served, serving, tiny_checkpoint

from tutelage.chat.formats.tools import read_tools
from tutelage.chat.formats.turns import read_messages
from tutelage.engine.requests import Request
from tutelage.records import Conversation, Message, Part, Reasoning, Text, ToolCall, message
from tutelage.serve.logits import LogitRules
from tutelage.serve.schema import ChatRequest

openai = pytest.importorskip("openai")
ARGUMENTS = '{"city": "Osl\\u00f6 \\"x\\"", "days": [1, {"a": "}"}]}'
CALL = ToolCall("look", ARGUMENTS)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
Write = Callable[[Sequence[int]], None]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving({"tiny": tiny_checkpoint()}) as one:
        yield one


@pytest.fixture
def write(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Sets the ids that every answer consists of."""
    script: list[int] = []

    def scripted(self: LogitRules, request: Request, logits_V: torch.Tensor) -> torch.Tensor:
        forced_V = torch.full_like(logits_V, -torch.inf)
        forced_V[script[len(request.generation.tokens)]] = 0.0
        return forced_V

    def set_script(ids: Sequence[int]) -> None:
        script[:] = ids

    monkeypatch.setattr(LogitRules, "__call__", scripted)
    yield set_script
    served.settle()


def answer_ids(served: Served, *parts: Part) -> list[int]:
    """The ids that training trains for an answer, its end included."""
    renderer = served.model.renderer
    assert renderer is not None
    asked = message("user", "a")
    (row,) = renderer.render_rows([Conversation((asked, Message("assistant", parts)))])[0]
    prompt = renderer.render_prompts([Conversation((asked,))])[0].ids
    return [int(token) for token in row.ids[len(prompt) :]]


def both(served: Served, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The message of an answer and its finish reason: the same whole and streamed, but for the ids of calls."""
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(model="tiny", **body).choices[0]
        chunks = [c.choices[0] for c in client.chat.completions.create(model="tiny", stream=True, **body)]
    calls: list[dict[str, Any]] = []
    texts = {"content": "", "reasoning_content": ""}
    for delta in (chunk.delta.model_dump() for chunk in chunks):
        for name in texts:
            texts[name] += delta.get(name) or ""
        for part in delta.get("tool_calls") or ():
            if part.get("id"):
                calls.append({"id": part["id"], **part["function"]})
            else:
                calls[part["index"]]["arguments"] += part["function"]["arguments"]
    expected = whole.message.model_dump()
    assert texts["content"] == (expected["content"] or "")
    assert texts["reasoning_content"] == (expected.get("reasoning_content") or "")
    names = [(call["name"], call["arguments"]) for call in calls]
    assert names == [(c["function"]["name"], c["function"]["arguments"]) for c in expected.get("tool_calls") or ()]
    assert len({call["id"] for call in calls}) == len(calls)
    reasons = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    assert reasons == [whole.finish_reason]  # exactly one, and the same
    assert "\ufffd" not in texts["content"]
    return expected, whole.finish_reason


@pytest.mark.parametrize(
    ("parts", "cut", "tools", "reason"),
    [
        ((Text("Good day"),), 0, TOOLS, "stop"),
        ((CALL,), 0, TOOLS, "tool_calls"),
        ((Text("Wait. "), CALL, ToolCall("look", "{}")), 0, TOOLS, "tool_calls"),
        ((Reasoning("hm"), CALL), 0, TOOLS, "tool_calls"),
        ((CALL,), 9, TOOLS, "length"),
        ((Text("Good day"),), 2, TOOLS, "length"),
        ((CALL,), 0, None, "stop"),
    ],
    ids=["text", "call", "text and two calls", "reasoning and call", "call cut", "text cut", "no tools offered"],
)
def test_s19_the_finish_reason_is_the_same_streamed_and_whole(
    served: Served, write: Write, parts: tuple[Part, ...], cut: int, tools: Any, reason: str
) -> None:
    ids = answer_ids(served, *parts)
    write(ids)
    body = {"messages": HELLO["messages"], "max_tokens": len(ids) - cut}
    answer, found = both(served, body | ({"tools": tools} if tools else {}))
    assert found == reason
    calls = [(c["function"]["name"], c["function"]["arguments"]) for c in answer.get("tool_calls") or ()]
    written = [(part.name, part.arguments) for part in parts if isinstance(part, ToolCall)]
    if tools and not cut:
        assert calls == written  # S30: also a call without arguments
        assert (answer["content"] or "") == "".join(part.text for part in parts if isinstance(part, Text))
    elif tools:
        assert all(part[1].startswith(call[1]) for part, call in zip(written, calls, strict=True))


def test_s20_a_loop_of_tool_calls_is_served_as_it_is_trained(served: Served, write: Write) -> None:
    """Invariant 12: the prompt of each turn begins the ids that training renders for the whole conversation."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "How warm is it?"}]
    renderer = served.model.renderer
    assert renderer is not None
    prompts = []
    real = served.model.chat_prompt

    def noting(request: Any) -> list[int]:
        prompts.append(real(request))
        return prompts[-1]

    served.model.__dict__["chat_prompt"] = noting
    try:
        for parts in ((CALL,), (Text("And "), CALL), (Text("Seven."),)):
            write(answer_ids(served, *parts))
            body = {"messages": messages, "tools": TOOLS, "max_tokens": 100}
            answer = served.post(CHAT, body).json()["choices"][0]["message"]
            messages.append(answer)
            calls = answer.get("tool_calls", ())
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": '{"degrees": 7}'} for call in calls]
    finally:
        del served.model.__dict__["chat_prompt"]
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == ARGUMENTS  # a string, escaped once
    conversation = Conversation(tuple(read_messages(messages, "messages")), tools=read_tools({"tools": TOOLS}))
    (row,) = renderer.render_rows([conversation])[0]
    trained = [int(token) for token in row.ids]
    assert len(prompts) == 3
    assert [trained[: len(prompt)] for prompt in prompts] == prompts


def test_s14_characters_of_several_tokens_arrive_whole(served: Served, write: Write) -> None:
    text = "a 🙂🙂 é 世界"
    ids = answer_ids(served, Text(text))
    assert len(ids) > 2 * len(text)  # bytes
    write(ids)
    answer, _ = both(served, {"messages": HELLO["messages"], "max_tokens": len(ids)})
    assert answer["content"] == text
    write(ids)
    cut = served.post(CHAT, {**HELLO, "max_tokens": 4}).json()["choices"][0]["message"]["content"]
    assert cut == "a \ufffd"  # cut within a character: said once, at the end


def test_s15_no_part_of_a_stop_string_is_sent(served: Served, write: Write) -> None:
    text = "abcabd"
    ids = answer_ids(served, Text(text))
    write(ids)
    for start, end in itertools.combinations(range(len(text) + 1), 2):
        stop = text[start:end]
        answer, reason = both(served, {"messages": HELLO["messages"], "max_tokens": len(ids), "stop": [stop, "zz"]})
        assert (answer["content"], reason) == (text[: text.index(stop)], "stop")
    answer, _ = both(served, {"messages": HELLO["messages"], "max_tokens": len(ids), "stop": "abdz"})
    assert answer["content"] == text  # what was held is sent at the end


def test_s16_every_end_stops_an_answer_and_none_with_ignore_eos(
    served: Served, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = served.model.checkpoint.tokenizer
    declared = [int(tokenizer.encode(letter)[-1]) for letter in "NW"]
    monkeypatch.setitem(served.model.checkpoint.chat_config.generation_config, "eos_token_id", declared)
    monkeypatch.delitem(served.model.__dict__, "stop_ids", raising=False)
    *letter, trained = answer_ids(served, Text("a"))
    ends = {*declared, trained}
    assert ends <= served.model.stop_ids
    for end in ends:
        script = [*letter, end, *letter, *letter]
        write(script)
        body = {**HELLO, "max_tokens": len(script), "logprobs": True}
        choice = served.post(CHAT, body).json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("a", "stop")
        assert len(choice["logprobs"]["content"]) == len(letter) + 1
        choice = served.post(CHAT, {**body, "ignore_eos": True}).json()["choices"][0]
        assert (len(choice["logprobs"]["content"]), choice["finish_reason"]) == (len(script), "length")
    del served.model.__dict__["stop_ids"]


def test_s21_no_text_of_a_message_becomes_a_special_token(served: Served) -> None:
    """In every role, and in results of tools."""
    tokenizer = served.model.checkpoint.tokenizer
    special = {*tokenizer.special_tokens.values()}
    spelled = "".join(tokenizer.special_tokens)
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": json.dumps({"a": "%"})}}

    def prompt(text: str) -> list[int]:
        roles = [("system", {}), ("user", {}), ("assistant", {"tool_calls": [call]}), ("tool", {"tool_call_id": "1"})]
        messages = [{"role": role, "content": text, **more} for role, more in roles]
        return served.model.chat_prompt(ChatRequest(messages=messages, tools=TOOLS))

    marks = [[token for token in prompt(text) if token in special] for text in ("x", spelled)]
    assert marks[0] == marks[1] != []
    assert len(prompt(spelled)) > len(prompt("x")) + 4 * len(spelled) / 2


def test_functions_that_the_template_leaves_out_are_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer: Any = served.model.renderer
    real = type(renderer).render_prompts

    def without_tools(self: Any, conversations: Sequence[Conversation]) -> Any:
        return real(self, [replace(conversation, tools=()) for conversation in conversations])

    assert served.post(CHAT, {**HELLO, "tools": TOOLS, "max_tokens": 2}).status_code == 200
    monkeypatch.setattr(type(renderer), "render_prompts", without_tools)
    refused = served.post(CHAT, {**HELLO, "tools": TOOLS, "max_tokens": 2})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools")
    assert served.post(CHAT, {**HELLO, "tools": TOOLS, "tool_choice": "none", "max_tokens": 2}).status_code == 200


def test_s17_ids_are_counted_where_a_stop_string_cuts(served: Served, write: Write) -> None:
    write(answer_ids(served, Text("abcdef")))
    count = len(answer_ids(served, Text("abcd"))) - 1
    whole = served.post(CHAT, {**HELLO, "max_tokens": 20, "stop": "d", "logprobs": True}).json()
    assert whole["usage"]["completion_tokens"] == len(whole["choices"][0]["logprobs"]["content"]) == count
    events = served.stream(CHAT, {**HELLO, "max_tokens": 20, "stop": "d", "stream_options": {"include_usage": True}})
    assert events[-2]["usage"]["completion_tokens"] == count


def test_a_completion_of_a_text_stops_and_streams_alike(served: Served, write: Write) -> None:
    ids = answer_ids(served, Text("ab 🙂 cd"))
    write(ids)
    body = {"prompt": "Good", "max_tokens": len(ids), "stop": ["c"]}
    whole = served.post(TEXT, body).json()["choices"][0]
    with httpx2.stream("POST", f"{served.url}{TEXT}", json={**body, "stream": True}, trust_env=False) as response:
        blocks = "".join(response.iter_text()).split("\n\n")
    events = [json.loads(block.removeprefix("data: ")) for block in blocks if block.startswith("data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == whole["text"] == "ab 🙂 "
    assert [e["choices"][0]["finish_reason"] for e in events if e["choices"][0]["finish_reason"]] == ["stop"]
