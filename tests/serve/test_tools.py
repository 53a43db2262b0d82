"""Tools of the server: listed, run for a client, and shown on the chat page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, browser
from openai import OpenAI
from scripted_engine import RENDERER, TOKENIZER, call, say, turn_ids
from served import CHAT, Served, run_server

from tutelage.engine.engine import EngineSettings
from tutelage.engine.requests import Request
from tutelage.model.hub import Checkpoint
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.serve.served_model import ServedModel
from tutelage.serve.server import ServeSettings, serve_model
from tutelage.tools.calculator import CALCULATOR
from tutelage.tools.tool import make_tool

FAILS = make_tool("fails", "Fails.", {}, lambda arguments, seconds: 1 / 0)
SETTINGS = ServeSettings(engine=EngineSettings(max_rows=4, chunk_tokens=64, min_prefix=16))


def scripted_model() -> ServedModel:
    """A model that calls the calculator, and says the result once it has read it."""
    config = resolve(ModelSettings(depth=1, width=16, heads=2, context=2048), TOKENIZER.vocab_size)
    model = serve_model("scripted", Checkpoint(initialise(Transformer(config), 0), TOKENIZER), SETTINGS)
    asked = turn_ids(RENDERER, call("calculator", '{"expression": "2 + 2"}'))
    answered = turn_ids(RENDERER, say("it is 4."))
    add = model.worker.engine.add

    def scripted(*arguments: Any, **options: Any) -> Request:
        turn = answered if TOKENIZER.special("<|result|>") in list(arguments[0]) else asked
        rules = options["process"]

        def force(request: Request, logits: Any) -> Any:
            forced = logits.new_full(logits.shape, -1e9)
            forced[turn[len(request.generation.tokens)]] = 0
            return forced

        request = add(*arguments, **options)
        request.process = replace_call(rules, force)
        return request

    model.worker.engine.add = scripted  # type: ignore[method-assign]
    return model


def replace_call(rules: Any, force: Any) -> Any:
    """The rules of a request, drawing from forced logits."""

    class Forced(type(rules)):  # type: ignore[misc]
        def __call__(self, request: Request, logits: Any) -> Any:
            return super().__call__(request, force(request, logits))

    forced = Forced.__new__(Forced)
    forced.__dict__.update(rules.__dict__)
    return forced


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with run_server({"scripted": scripted_model()}, SETTINGS, [CALCULATOR, FAILS]) as one:
        yield one


def test_tools_are_listed_and_run(served: Served) -> None:
    listed = served.get("/v1/tools").json()["data"]
    assert [tool["function"]["name"] for tool in listed] == ["calculator", "fails"]
    calls = [
        {"id": "a", "name": "calculator", "arguments": '{"expression": "6 * 7"}'},
        {"id": "b", "name": "fails", "arguments": "{}"},
        {"id": "c", "name": "nothing", "arguments": "{"},
    ]
    rows = served.post("/v1/tools/call", {"calls": calls}).json()["data"]
    assert [(row["id"], row["status"]) for row in rows] == [("a", "ok"), ("b", "error"), ("c", "unknown tool")]
    assert rows[0]["text"] == "42"
    assert "ZeroDivisionError" in rows[1]["text"]


@pytest.mark.parametrize("body", [{}, {"calls": []}, {"calls": [{"name": 1}]}, {"calls": [{}] * 99}, []])
def test_a_wrong_request_is_refused(served: Served, body: Any) -> None:
    response = served.post("/v1/tools/call", body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "calls"


def test_the_openai_client_runs_the_loop_end_to_end(served: Served) -> None:
    """A client of the SDK offers the server's tools, runs the call there and gets the answer; the second request
    computes no token of the first again but the last."""
    client = OpenAI(base_url=f"{served.url}/v1", api_key="none")
    tools = served.get("/v1/tools").json()["data"]
    messages: list[Any] = [{"role": "user", "content": "what is 2 + 2?"}]
    first = client.chat.completions.create(model="scripted", messages=messages, tools=tools)
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    made = choice.message.tool_calls[0]
    assert made.type == "function"
    wire = {"id": made.id, "name": made.function.name, "arguments": made.function.arguments}
    (result,) = served.post("/v1/tools/call", {"calls": [wire]}).json()["data"]
    assert result["id"] == made.id
    messages += [choice.message, {"role": "tool", "tool_call_id": made.id, "content": result["text"]}]
    second = client.chat.completions.create(model="scripted", messages=messages, tools=tools)
    assert (second.choices[0].message.content, second.choices[0].finish_reason) == ("it is 4.", "stop")
    assert first.usage is not None
    assert second.usage is not None and second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) >= first.usage.prompt_tokens // 16 * 16


def test_streams_and_whole_answers_agree(served: Served) -> None:
    tools = json.loads(served.get("/v1/tools").text)["data"]
    body = {"messages": [{"role": "user", "content": "what is 2 + 2?"}], "tools": tools}
    whole = served.post(CHAT, body).json()["choices"][0]
    events = served.stream(CHAT, body)
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    written = "".join(call["function"]["arguments"] for delta in deltas for call in delta.get("tool_calls", ()))
    assert written == whole["message"]["tool_calls"][0]["function"]["arguments"] == '{"expression": "2 + 2"}'


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
def test_the_page_lets_the_server_run_the_calls_and_shows_them(served: Served, tmp_path: Path) -> None:
    with browser(tmp_path) as page:
        page.open(served.url)
        page.wait("document.getElementById('model').options.length === 1 && serverTools.length === 2")
        page.run("settings.temperature = 0; document.getElementById('message').focus()")
        page.type("what is 2 + 2?", "Enter")
        page.wait(
            "[...document.querySelectorAll('.answer > .text')].some((e) => e.textContent === 'it is 4.') && !busy()"
        )
        shown = page.run("[...document.querySelectorAll('.call')].map((e) => e.textContent)")
        assert shown == ['call calculator{"expression": "2 + 2"}', "tool result4"]
        assert page.run("document.querySelectorAll('.results').length") == 0, "nobody has to write the result"
        assert page.errors == []
    served.settle()
