"""What holds for every request, however many there are: texts, ends, clocks (S numbers: what was reported against other
servers; numbers alone: the invariants of a serving engine)."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from served import CHAT, HELLO, Served, serving

from tutelage.engine.engine import EngineSettings
from tutelage.engine.speculation import Payoff
from tutelage.serve.metrics import Metrics
from tutelage.serve.server import ServeSettings
from tutelage.serve.worker import EngineWorker, Ticket, _Choice

BEGINNINGS = ["Good day, you are well. " * 3, "Where was Nora born? " * 4, "a"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server with so few pages that answers are preempted."""
    settings = ServeSettings(engine=EngineSettings(max_rows=5, pages=24, chunk_tokens=40, min_prefix=16))
    with serving(settings=settings) as one:
        yield one


def bodies(count: int) -> list[dict[str, Any]]:
    """Requests with common beginnings, greedy and seeded."""
    draw = random.Random(0)
    return [
        {
            "messages": [{"role": "user", "content": draw.choice(BEGINNINGS) + str(number)}],
            "max_tokens": draw.randrange(2, 40),
            "ignore_eos": draw.random() < 0.5,
            "temperature": draw.choice([0, 1]),
            "seed": number,
        }
        for number in range(count)
    ]


def in_a_crowd(served: Served, asked: list[dict[str, Any]]) -> list[str]:
    """The bodies of the responses, all asked at once, every second one streamed."""
    responses = [""] * len(asked)

    def ask(number: int) -> None:
        body = {**asked[number], "stream": number % 2 == 1}
        with httpx2.stream("POST", f"{served.url}{CHAT}", json=body, timeout=60, trust_env=False) as response:
            responses[number] = "".join(response.iter_text())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served.settle()
    return responses


def test_1_4_s11_every_answer_of_a_crowd_is_the_answer_alone(served: Served) -> None:
    """Greedy and seeded, with common beginnings in the cache, prompts read in chunks, and preemption."""
    asked = bodies(24)
    alone = []
    for body in asked:
        alone.append(served.post(CHAT, body).json()["choices"][0]["message"]["content"])
        served.model.worker.call(lambda engine: engine.weights_changed()).result(60)  # nothing is cached
    for _ in range(2):  # the second time with a full cache
        for number, (text, response) in enumerate(zip(alone, in_a_crowd(served, asked), strict=True)):
            if number % 2:
                events = [json.loads(block[6:]) for block in response.split("\n\n") if block.startswith("data: {")]
                written = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
            else:
                written = json.loads(response)["choices"][0]["message"]["content"]
            assert written == text


def test_5_s13_guessed_tokens_change_no_answer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeded and greedy, with log-probabilities, stop strings and a grammar."""
    schema = {"type": "array", "items": {"const": "ab"}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    asked = [
        {"temperature": 0},
        {"temperature": 1, "logprobs": True, "top_logprobs": 2},
        {"temperature": 0, "stop": ["a"]},
        {"temperature": 0, "response_format": form, "ignore_eos": False},
    ]
    bodies = [{**HELLO, "max_tokens": 60, "ignore_eos": True, "seed": 3, **more} for more in asked]
    plain = [served.post(CHAT, body).json()["choices"] for body in bodies]
    monkeypatch.setattr(Payoff, "allows", lambda self: True)  # else only where it is faster
    settings = ServeSettings(engine=EngineSettings(max_rows=5, min_prefix=16), speculate="ngram")
    with serving(settings=settings) as guessing:
        guessed = [guessing.post(CHAT, body).json()["choices"] for body in bodies]
        lines = guessing.get("/metrics").text.splitlines()
        guessing.settle()
    values = {line.partition("{")[0]: float(line.split()[-1]) for line in lines if not line.startswith("#")}
    assert 0 < values["tutelage_accepted_tokens"] <= values["tutelage_drafted_tokens"]
    assert without_logprobs(guessed) == without_logprobs(plain)
    for one, other in zip(*(found[1][0]["logprobs"]["content"] for found in (guessed, plain)), strict=True):
        assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-4)
        assert [top["token"] for top in one["top_logprobs"]] == [top["token"] for top in other["top_logprobs"]]


def without_logprobs(answers: list[Any]) -> list[Any]:
    return [[{**choice, "logprobs": None} for choice in choices] for choices in answers]


def test_8_every_accepted_request_gets_exactly_one_end(served: Served) -> None:
    for number, response in enumerate(in_a_crowd(served, bodies(12))):
        if number % 2:
            assert response.count('"finish_reason":"') == 1
            assert response.endswith("data: [DONE]\n\n")
            assert "\n\n\n" not in response  # one empty line between two events
        else:
            assert json.loads(response)["choices"][0]["finish_reason"] in ("stop", "length")


def test_s27_clocks_run_on_token_ids_not_on_chunks() -> None:
    """Three tokens in one event are three; before the first token nothing is measured."""
    metrics = Metrics()
    worker: Any = SimpleNamespace(metrics=metrics)
    generation = SimpleNamespace(tokens=[], cached_tokens=0)
    request: Any = SimpleNamespace(generation=generation, state="running", prompt_length=7)
    ticket = Ticket([], None, arrived=100.0)  # type: ignore[arg-type]
    choice = _Choice(ticket, 0)
    events = [(101.0, 0, "running"), (103.0, 1, "running"), (104.0, 3, "running"), (105.0, 1, "finished")]
    for now, count, state in events:
        generation.tokens += [0] * count
        request.state = state
        EngineWorker._measure(worker, request, choice, count, now)
    assert (ticket.first_token, ticket.last_token) == (103.0, 105.0)
    assert metrics.sums["time_to_first_token_seconds"] == 3.0
    assert metrics.sums["time_per_output_token_seconds"] == 2.0 / 4
    assert metrics.counters["generated_tokens_total"] == 5
    assert sum(metrics.histograms["time_to_first_token_seconds"]) == 1
