"""A request that waits for a tool leaves the batch, keeps its keys and values, and goes on after the result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from engine_model import MODEL, NEVER, alone, prompt

from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.pages import PAGE
from tutelage.engine.requests import Request
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.text_stream import TextStream
from tutelage.tokenizer import TokenizerSettings, train

GREEDY = SamplingSettings(max_tokens=16)
RESULT = prompt(9, 7)


def run_until_paused(engine: Engine, request: Request) -> None:
    while request.state != "paused":
        engine.step()


def paused_after(engine: Engine, count: int, length: int = 40) -> Request:
    """A request that is paused after so many tokens, by a token that the model writes there."""
    tokens = alone(MODEL, prompt(0, length), GREEDY).tokens
    count = tokens.index(tokens[count - 1]) + 1
    request = engine.add(prompt(0, length), NEVER, GREEDY, pause_ids=frozenset({tokens[count - 1]}))
    run_until_paused(engine, request)
    assert request.generation.tokens == tokens[:count]
    return request


@pytest.mark.parametrize("cache", ["none", "all"])
def test_nothing_is_computed_again_and_the_result_is_read_once(cache: str) -> None:
    """The tokens that the model reads after the pause are the last sampled one, the result, and the rest of the answer;
    also where the prompt ends inside a page."""
    engine = Engine(MODEL, EngineSettings(prefix_cache=cache))  # type: ignore[arg-type]
    request = paused_after(engine, 5)
    computing, read = engine.rows.fast, []  # type: ignore[union-attr]
    hidden: Callable[..., torch.Tensor] = computing.hidden  # type: ignore[union-attr]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(computing, "hidden", lambda tokens, *rest: read.append(len(tokens)) or hidden(tokens, *rest))
        request.pause_ids = NEVER
        written = len(request.generation.tokens)
        engine.resume(request, RESULT)
        engine.run()
    assert read[0] == 1 + len(RESULT)
    assert sum(read) == len(RESULT) + len(request.generation.tokens) - written
    expected = alone(MODEL, prompt(0, 40), GREEDY, injected=((written, tuple(RESULT)),))
    assert request.generation.tokens == expected.tokens
    assert request.generation.tokens != alone(MODEL, prompt(0, 40), GREEDY).tokens
    assert request.ids == [*prompt(0, 40), *expected.tokens[:written], *RESULT, *expected.tokens[written:]]


def test_injected_tokens_do_not_count_as_sampled() -> None:
    engine = Engine(MODEL)
    request = paused_after(engine, 5)
    request.pause_ids = NEVER
    engine.resume(request, prompt(9, 30))
    engine.run()
    generation = request.generation
    assert (len(generation.tokens), generation.finish_reason) == (GREEDY.max_tokens, "length")
    assert len(generation.logprobs) == len(generation.sample_logprobs) == GREEDY.max_tokens
    [(written, ids)] = generation.injected
    assert (generation.tokens[written - 1], ids) == (request.ids[40 + written - 1], prompt(9, 30))


def test_while_one_waits_for_its_tool_the_others_go_on() -> None:
    """S30's slow tool: a pause takes no row, no step and no token of the others."""
    engine = Engine(MODEL, EngineSettings(max_rows=1))
    waiting = paused_after(engine, 3)
    others = [engine.add(prompt(family, 30), NEVER, GREEDY) for family in (1, 2)]
    engine.run()
    for family, other in zip((1, 2), others, strict=True):
        assert other.generation.tokens == alone(MODEL, prompt(family, 30), GREEDY).tokens
    assert waiting.state == "paused"
    engine.cancel(waiting)
    engine.check()
    assert not engine.pool.references


def test_under_pressure_a_paused_request_gives_up_its_pages_and_computes_them_again() -> None:
    engine = Engine(MODEL, EngineSettings(pages=5, prefix_cache="none"))
    request = paused_after(engine, 4)
    written = len(request.generation.tokens)
    assert request.pages
    other = engine.add(prompt(1, 60), NEVER, GREEDY)
    engine.run()
    engine.check()
    assert not request.pages
    assert other.generation.tokens == alone(MODEL, prompt(1, 60), GREEDY).tokens
    request.pause_ids = NEVER
    engine.resume(request, RESULT)
    engine.run()
    expected = alone(MODEL, prompt(0, 40), GREEDY, injected=((written, tuple(RESULT)),))
    assert request.generation.tokens == expected.tokens


def test_a_result_that_does_not_fit_is_refused_and_the_request_stays_paused() -> None:
    engine = Engine(MODEL, EngineSettings(pages=4))
    request = paused_after(engine, 4)
    with pytest.raises(ValueError, match="the answer so far with what is injected has .* leaves no room to answer"):
        engine.resume(request, prompt(1, 80))
    with pytest.raises(ValueError, match=f"but the cache holds {4 * PAGE}"):
        engine.resume(request, prompt(1, 25))
    assert request.state == "paused"
    request.pause_ids = NEVER
    engine.resume(request, RESULT)
    engine.run()
    assert request.state == "finished"


def test_only_a_running_request_that_has_written_can_be_paused_and_only_a_paused_one_resumed() -> None:
    engine = Engine(MODEL, EngineSettings(chunk_tokens=10))
    request = engine.add(prompt(0, 40), NEVER, GREEDY)
    for _ in range(2):
        with pytest.raises(ValueError, match="only a request that runs and has written a token can be paused"):
            engine.pause(request)
        engine.step()
    with pytest.raises(ValueError, match="the request is running; only a paused one can be resumed"):
        engine.resume(request, [])
    while not request.generation.tokens:
        engine.step()
    engine.pause(request)
    with pytest.raises(RuntimeError, match="run or are paused"):
        engine.weights_changed()


def test_a_stream_stops_at_a_pause_and_goes_on_after_it() -> None:
    """And the text holds what the model wrote, not the result."""
    tokenizer = train(["abcdefghij"], TokenizerSettings(vocab=270))
    engine, text = Engine(MODEL), TextStream(tokenizer)
    tokens = alone(MODEL, prompt(0, 40), GREEDY).tokens
    count = tokens.index(tokens[4]) + 1
    request = engine.add(prompt(0, 40), NEVER, GREEDY, text=text, pause_ids=frozenset({tokens[4]}))
    first = list(engine.stream(request))
    assert (first, request.state) == (tokens[:count], "paused")
    request.pause_ids = NEVER
    engine.resume(request, RESULT)
    second = list(engine.stream(request))
    expected = alone(MODEL, prompt(0, 40), GREEDY, injected=((count, tuple(RESULT)),))
    assert first + second == expected.tokens
    assert text.text() == tokenizer.decode(np.array(expected.tokens))
