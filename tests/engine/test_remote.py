"""The engine's interface over an endpoint: a stub, and Tutelage's own server."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from tutelage.client import Client, EndpointSettings
from tutelage.engine.engine import generate
from tutelage.engine.remote import RemoteEngine, generate_remote
from tutelage.engine.sampling import SamplingSettings
from tutelage.tokenizer import Tokenizer, TokenizerSettings, train

TOKENIZER = train(["Good day, you are well."] * 4, TokenizerSettings(vocab=280))
STOP = frozenset({7})
PROMPT = np.array([1, 2, 3])


class Stub:
    """An endpoint that gives each question the next of its choices."""

    def __init__(self, *choices: dict[str, Any]) -> None:
        self.choices, self.seen = list(choices), []  # type: ignore[var-annotated]


@contextmanager
def stub(*choices: dict[str, Any]) -> Iterator[tuple[Stub, RemoteEngine]]:
    state = Stub(*choices)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            state.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            choice = {"index": 0, "text": "", "finish_reason": "stop", **state.choices.pop(0)}
            usage = {"prompt_tokens": 3, "completion_tokens": choice.pop("counted", len(choice.get("token_ids", ())))}
            body = json.dumps({"choices": [choice], "usage": usage, "system_fingerprint": "w"}).encode()
            self.send_response(400 if "error" in choice else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    settings = EndpointSettings(url=f"http://127.0.0.1:{server.server_address[1]}/v1", model="m", parallel=1)
    try:
        with Client(settings) as client:
            yield state, RemoteEngine(client, TOKENIZER, context=40)
    finally:
        server.shutdown()
        server.server_close()


def test_ids_go_in_and_come_out() -> None:
    choice = {"token_ids": [5, 6, 7], "logprobs": {"token_logprobs": [-1.0, -2.0, -0.5]}}
    with stub(choice) as (state, engine):
        request = engine.add(PROMPT, STOP, SamplingSettings(temperature=1.0, max_tokens=50), prompt_id=2)
        finished: list[object] = []
        engine.run(finished.extend)
    [body] = state.seen
    assert (body["prompt"], body["max_tokens"], body["stop_token_ids"]) == ([1, 2, 3], 37, [7])
    assert body["return_token_ids"] is True
    assert not {"top_p", "top_k", "min_p", "repetition_penalty"} & set(body)
    generation = request.generation
    assert finished == [request]
    assert request.exact
    assert (generation.tokens, generation.content, generation.stop_token) == ([5, 6, 7], [5, 6], 7)
    assert generation.logprobs == generation.sample_logprobs == [-1.0, -2.0, -0.5]
    assert (generation.finish_reason, generation.weights) == ("stop", "w")


def test_a_server_without_ids_is_read_by_its_text_and_said_to_be_inexact() -> None:
    with stub({"text": "Good day", "finish_reason": "length", "logprobs": None}) as (_, engine):
        request = engine.add(PROMPT, STOP, SamplingSettings(max_tokens=9))
        engine.run()
    assert not request.exact
    assert request.generation.tokens == TOKENIZER.encode("Good day").tolist()
    assert (request.generation.logprobs, request.generation.finish_reason) == ([], "length")


def test_names_of_tokens_may_be_ids_and_a_server_that_ignores_stop_ids_is_cut() -> None:
    names = {"tokens": ["token_id:5", "token_id:7", "token_id:9"], "token_logprobs": [-1.0, -2.0, -3.0]}
    with stub({"logprobs": names, "finish_reason": "length", "counted": 3}) as (_, engine):
        request = engine.add(PROMPT, STOP, SamplingSettings())
        engine.run()
    assert (request.generation.tokens, request.generation.logprobs) == ([5, 7], [-1.0, -2.0])
    assert (request.generation.stop_token, request.generation.finish_reason) == (7, "stop")
    assert request.generation.sample_logprobs == [0.0, 0.0]


def test_log_probabilities_of_a_changed_distribution_are_unknown_not_wrong() -> None:
    choice = {"token_ids": [5], "logprobs": {"token_logprobs": [-1.0]}}
    with stub(choice, choice) as (state, engine):
        for settings in (SamplingSettings(temperature=0.5), SamplingSettings(temperature=1.0, top_p=0.9, min_p=0.1)):
            request = engine.add(PROMPT, STOP, settings)
            engine.run()
            assert [math.isnan(value) for value in request.generation.sample_logprobs] == [True]
    assert (state.seen[1]["top_p"], state.seen[1]["min_p"]) == (0.9, 0.1)


def test_seeds_differ_by_prompt_and_sample_and_repeat() -> None:
    choice = {"token_ids": [5]}
    with stub(*[choice] * 5) as (state, engine):
        for prompt_id, sample, position in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 0), (0, 0, 8)):
            engine.add(PROMPT, STOP, SamplingSettings(temperature=1.0, seed=3), prompt_id, sample, position)
            engine.run()
    seeds = [body["seed"] for body in state.seen]
    assert seeds[0] == seeds[3]
    assert len(set(seeds)) == 4


def test_refusals_and_contradictions_are_errors() -> None:
    with stub({"error": 1}, {"token_ids": [5, 6], "logprobs": {"token_logprobs": [-1.0]}}) as (_, engine):
        engine.add(PROMPT, STOP, SamplingSettings())
        with pytest.raises(ValueError, match="refused with status 400"):
            engine.run()
        engine.add(PROMPT, STOP, SamplingSettings())
        with pytest.raises(ValueError, match="sent 2 ids and 1 log-probabilities"):
            engine.run()
        with pytest.raises(ValueError, match="the prompt has 40 tokens; the context of 40 leaves no room"):
            engine.add(list(range(40)), STOP, SamplingSettings())
        waiting = engine.add(PROMPT, STOP, SamplingSettings())
        engine.cancel(waiting)
        engine.run()
        assert (waiting.state, waiting.generation.finish_reason) == ("finished", "cancelled")


def test_pain_2_a_server_that_strips_the_stop_token_is_refused() -> None:
    """dynamo PR 14303: ids were one shorter than the usage said."""
    choice = {"token_ids": [5, 6], "counted": 3, "logprobs": {"token_logprobs": [-1.0, -2.0]}}
    with stub(choice) as (_, engine):
        engine.add(PROMPT, STOP, SamplingSettings())
        with pytest.raises(ValueError, match="it sent 2 ids and counts 3 tokens"):
            engine.run()


def test_tutelages_own_server_answers_as_its_engine() -> None:
    """Greedy ids and log-probabilities over HTTP equal those of `generate`."""
    served = pytest.importorskip("served", reason="the extra serve is not installed")
    with served.serving() as running:
        checkpoint = running.model.checkpoint
        tokenizer: Tokenizer = checkpoint.tokenizer
        prompts = [tokenizer.encode(text) for text in ("Good day", "Where was Nora", "0123")]
        sampling = SamplingSettings(max_tokens=10)
        settings = EndpointSettings(url=f"{running.url}/v1", model="tiny")
        with Client(settings) as client:
            remote = generate_remote(RemoteEngine(client, tokenizer, 512), prompts, running.model.stop_ids, sampling)
        expected = generate(checkpoint.model, prompts, running.model.stop_ids, sampling)
    assert [one.tokens for one in remote] == [other.tokens for other in expected]
    for one, other in zip(remote, expected, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
        assert one.weights == other.weights
        assert (one.finish_reason, one.stop_token) == (other.finish_reason, other.stop_token)
