"""Requests that nobody would write: the server answers each, and leaks nothing."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from typing import Any

import httpx2
import msgspec
import pytest
from served import CHAT, HELLO, TEXT, Served, serving

from tutelage.engine.engine import EngineSettings
from tutelage.engine.speculation import Payoff
from tutelage.serve.server import ServeSettings

# A pool so small that requests are preempted, and one row too few for all clients.
SETTINGS = ServeSettings(max_queue=6, engine=EngineSettings(max_rows=3, pages=40, chunk_tokens=24, min_prefix=16))
CLIENTS = 4
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 10**30, -(2**63), 0.5, 1e308, "", "a", "\u0000", "\ud83d\ude00", "é" * 50,
    "<|end|>", "<tool_call>", [], [[]], {}, {"type": "text"}, {"a": {"b": []}}, ["a", "b"], [1, 2], [[1], [2, 3]],
    [-1], [300, 10**9], HELLO["messages"], [TOOL], {"type": "json_object"}, "auto", "none", "required", "a" * 999,
    {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array", "maxItems": 2}}},
    {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/nowhere"}}}, {"include_usage": True},
    [{"role": "tool", "content": "x", "tool_call_id": "1"}], [{"role": "user"}], {"5": 3, "x": 1}, {"7": -100},
    [{"role": "assistant", "content": "<think>"}], [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
]  # fmt: skip
FIELDS = [
    "model", "messages", "prompt", "n", "seed", "stop", "temperature", "top_p", "top_k", "min_p", "max_tokens",
    "max_completion_tokens", "logprobs", "top_logprobs", "echo", "stream", "stream_options", "tools", "tool_choice",
    "response_format", "logit_bias", "presence_penalty", "frequency_penalty", "repetition_penalty", "ignore_eos",
    "chat_template_kwargs", "user", "unknown", "parallel_tool_calls", "suffix",
]  # fmt: skip


def body(draw: random.Random) -> bytes:
    """A request with some fields of some type; sometimes bytes that are no JSON."""
    asked: dict[str, Any] = {**HELLO, "prompt": "Good day", "max_tokens": draw.randrange(1, 6)}
    for _ in range(draw.choice([0, 1, 1, 2, 4])):
        asked[draw.choice(FIELDS)] = draw.choice(VALUES)
    data = json.dumps(asked).encode()
    if draw.random() < 0.1:
        cut = draw.randrange(len(data))
        data = draw.choice(
            [data[:cut], data[:cut] + bytes([draw.randrange(256)]) + data[cut:], b"", b"[]", b"\xff\xfe"]
        )
    return data


def fuzz(served: Served, seed: int, count: int, failures: list[str], statuses: Counter[int]) -> None:
    """Send requests; a third of the streams is cut after their first bytes."""
    draw = random.Random(seed)
    with httpx2.Client(timeout=60, trust_env=False, headers={"content-type": "application/json"}) as client:
        for _ in range(count):
            data = body(draw)
            with client.stream("POST", f"{served.url}{draw.choice([CHAT, TEXT])}", content=data) as response:
                statuses[response.status_code] += 1
                is_stream = "event-stream" in response.headers["content-type"]
                if is_stream and draw.random() < 1 / 3:
                    next(response.iter_raw(), None)
                    continue
                text = response.read().decode()
            good = (text.endswith("data: [DONE]\n\n") and '"finish_reason":null' in text) or '"error"' in text
            if not (good if is_stream else response.status_code == 200 or "message" in json.loads(text)["error"]):
                failures.append(f"{data!r}: {text[-300:]}")
            if response.status_code >= 500:
                failures.append(f"{data!r}: {response.status_code} {text[:300]}")


def run(count: int, speculate: str | None = None) -> None:
    failures: list[str] = []
    statuses: Counter[int] = Counter()
    with serving(settings=msgspec.structs.replace(SETTINGS, speculate=speculate)) as served:
        threads = [
            threading.Thread(target=fuzz, args=(served, seed, count // CLIENTS, failures, statuses))
            for seed in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        served.settle()
        assert served.post(CHAT, {**HELLO, "max_tokens": 2}).status_code == 200
        served.settle()
    assert failures == []
    assert set(statuses) <= {200, 400, 404, 429}
    assert min(statuses[200], statuses[400]) > count / 5


@pytest.mark.parametrize("speculate", [None, "ngram"])
def test_no_request_breaks_the_server_or_leaks_a_page(speculate: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Payoff, "allows", lambda self: True)
    run(200, speculate)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_request_of_ten_thousand_breaks_the_server_or_leaks_a_page() -> None:
    run(10_000)
