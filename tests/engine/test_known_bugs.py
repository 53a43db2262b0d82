"""Known bugs of other engines, each excluded by a test; their numbers are those of the names (S1 to S16). S2 and S6
are in test_pages.py, S1 of adapters in test_adapters.py, S12, S13 and S26 in test_speculation.py, S14 and S15 in
test_text_stream.py, S25 in test_quantization_check.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from engine_model import MODEL, NEVER, alone, make_model, prompt

from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.pages import PAGE
from tutelage.engine.requests import Request
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.scheduler import QueueFullError


def run_all(engine: Engine, prompts: list[list[int]], sampling: SamplingSettings) -> list[Request]:
    requests = [engine.add(ids, NEVER, sampling) for ids in prompts]
    engine.run()
    engine.check()
    return requests


def test_s1_after_new_weights_nothing_of_the_old_ones_is_used() -> None:
    model, ids = make_model(), prompt(0, 70)
    engine = Engine(model, EngineSettings(min_prefix=1))
    sampling = SamplingSettings(max_tokens=5)
    run_all(engine, [ids], sampling)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-0.9)
    engine.weights_changed()
    [request] = run_all(engine, [ids], sampling)
    assert request.generation.cached_tokens == 0
    fresh = Engine(model, EngineSettings(prefix_cache="none"))
    assert request.generation == run_all(fresh, [ids], sampling)[0].generation
    engine.add(ids, NEVER, sampling)
    engine.step()
    with pytest.raises(RuntimeError, match="requests run"):
        engine.weights_changed()


@pytest.mark.parametrize("length", [PAGE, 2 * PAGE, 2 * PAGE + 1, 70])
def test_s3_a_wholly_cached_prompt_still_computes_its_last_token(length: int) -> None:
    """And the hits that are reported are exactly the tokens that the model did not read."""
    engine = Engine(MODEL, EngineSettings(min_prefix=1))
    sampling = SamplingSettings(max_tokens=3)
    [first] = run_all(engine, [prompt(0, length)], sampling)
    read: list[int] = []
    computing = engine.rows.fast  # type: ignore[union-attr]
    hidden: Callable[..., torch.Tensor] = computing.hidden
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(computing, "hidden", lambda tokens, *rest: read.append(len(tokens)) or hidden(tokens, *rest))
        [again] = run_all(engine, [prompt(0, length)], sampling)
    assert again.generation.cached_tokens == (length - 1) // PAGE * PAGE
    assert sum(read) == length - again.generation.cached_tokens + 2
    assert again.generation.tokens == first.generation.tokens


def test_s5_a_request_that_outgrows_the_pool_ends_and_a_longer_prompt_is_refused() -> None:
    engine = Engine(MODEL, EngineSettings(pages=2))
    [request] = run_all(engine, [prompt(0, 30)], SamplingSettings(max_tokens=50))
    assert request.generation.finish_reason == "length"
    assert len(request.generation.tokens) == 2 * PAGE - 30 + 1  # the last one is never read
    with pytest.raises(ValueError, match="the prompt has 32 tokens, but the cache holds 32"):
        engine.add(prompt(0, 32), NEVER, SamplingSettings())


def test_s7_pages_of_a_prompt_cancelled_between_chunks_can_be_used() -> None:
    engine = Engine(MODEL, EngineSettings(chunk_tokens=20, min_prefix=1))
    sampling = SamplingSettings(max_tokens=4)
    cut = engine.add(prompt(0, 80), NEVER, sampling)
    engine.step()
    engine.step()
    assert 0 < cut.computed < 80
    engine.cancel(cut)
    engine.check()
    [request] = run_all(engine, [prompt(0, 80)], sampling)
    assert request.generation.cached_tokens == 2 * PAGE
    plain = Engine(MODEL, EngineSettings(prefix_cache="none"))
    assert request.generation.tokens == run_all(plain, [prompt(0, 80)], sampling)[0].generation.tokens


def test_s8_cancelling_queued_reading_and_decoding_requests_leaves_the_others_alone() -> None:
    engine = Engine(MODEL, EngineSettings(max_rows=4, chunk_tokens=50))
    sampling = SamplingSettings(max_tokens=12)
    requests = [engine.add(prompt(family, 40), NEVER, sampling) for family in range(5)]
    engine.step()
    engine.step()
    states = {0: (True, "running"), 2: (False, "running"), 4: (False, "waiting")}
    for number, state in states.items():
        assert (requests[number].decodes, requests[number].state) == state
        engine.cancel(requests[number])
        engine.check()
    engine.run()
    for number in (1, 3):
        assert requests[number].generation.tokens == alone(MODEL, prompt(number, 40), sampling, 0, 0).tokens
    assert not engine.pool.references


def test_s9_the_queue_is_bounded() -> None:
    engine = Engine(MODEL, EngineSettings(queue=2))
    engine.add(prompt(0, 5), NEVER, SamplingSettings())
    engine.add(prompt(1, 5), NEVER, SamplingSettings())
    with pytest.raises(QueueFullError, match="2 requests wait already and no more may; try again later"):
        engine.add(prompt(2, 5), NEVER, SamplingSettings())


def test_s4_a_start_that_fails_leaves_no_count_behind() -> None:
    """A pool of 6 pages: the prefix of a waiting request is found at every try, and given back while the rest of its
    pages is missing."""
    engine = Engine(MODEL, EngineSettings(pages=6, min_prefix=1, chunk_tokens=200))
    sampling = SamplingSettings(max_tokens=30)
    run_all(engine, [prompt(0, 40)], SamplingSettings(max_tokens=1))
    running = engine.add(prompt(1, 50), NEVER, sampling)
    waiting = engine.add(prompt(0, 60), NEVER, sampling)
    tries = 0
    while running.state != "finished":
        engine.step()
        engine.check()
        if waiting.state == "waiting":
            tries += 1
            assert (waiting.pages, waiting.computed, waiting.published) == ([], 0, 0)
    assert tries > 5
    engine.run()
    assert waiting.generation.tokens == alone(MODEL, prompt(0, 60), sampling).tokens


def test_s10_a_seeded_answer_is_the_same_alone_and_among_others_without_a_seed() -> None:
    sampling = SamplingSettings(temperature=1.0, max_tokens=12, seed=5)
    engine = Engine(MODEL)
    others = [
        engine.add(prompt(n, 10 + n), NEVER, SamplingSettings(temperature=[0.0, 0.7][n % 2], max_tokens=5 + n), n)
        for n in range(6)
    ]
    samples = [engine.add(prompt(0, 30), NEVER, sampling, sample=sample) for sample in range(4)]
    engine.run()
    assert all(request.state == "finished" for request in others)
    for sample, request in enumerate(samples):
        plain = Engine(MODEL, EngineSettings(prefix_cache="none"))
        expected = plain.add(prompt(0, 30), NEVER, sampling, sample=sample)
        plain.run()
        assert request.generation.tokens == expected.generation.tokens
    assert len({tuple(request.generation.tokens) for request in samples}) == 4


def test_s11_in_float32_a_crowd_changes_a_token_only_at_a_near_tie() -> None:
    """In float64 it changes none: see the state machine. Here, where tokens first differ, the two are less than 1e-4
    nats apart."""
    model, sampling = make_model().float(), SamplingSettings(max_tokens=40)
    crowd = Engine(model, EngineSettings(chunk_tokens=30, min_prefix=1))
    requests = run_all(crowd, [prompt(n % 5, 20 + n) for n in range(20)], sampling)
    for number, request in enumerate(requests):
        ids = prompt(number % 5, 20 + number)
        [single] = run_all(Engine(model, EngineSettings(prefix_cache="none")), [ids], sampling)
        tokens, expected = request.generation.tokens, single.generation.tokens
        if tokens != expected:
            place = next(i for i, pair in enumerate(zip(tokens, expected, strict=True)) if pair[0] != pair[1])
            read = torch.tensor([*ids, *expected[:place]])
            with torch.inference_mode():
                hidden = model.hidden(read, torch.arange(len(read)), model.within_segments((len(read),)))
                logits = model.logits(hidden[-1:])[0]
            assert abs(float(logits[tokens[place]] - logits[expected[place]])) < 1e-4


def test_s16_every_one_of_several_ends_stops_and_none_where_ends_are_ignored() -> None:
    sampling = SamplingSettings(max_tokens=20)
    tokens = alone(MODEL, prompt(0, 30), sampling).tokens
    assert len(tokens) == 20
    ends = list(dict.fromkeys(tokens))[:3]
    engine = Engine(MODEL)
    for end in ends:
        request = engine.add(prompt(0, 30), frozenset({end, 22, 21}), sampling)
        engine.run()
        place = next(i for i, token in enumerate(tokens) if token in request.stop_ids)
        assert (request.generation.tokens, request.generation.finish_reason) == (tokens[: place + 1], "stop")
        assert request.generation.stop_token == tokens[place]
    union = engine.add(prompt(0, 30), frozenset(ends), sampling)
    ignored = engine.add(prompt(0, 30), NEVER, sampling)
    engine.run()
    assert union.generation.tokens == tokens[:1]
    assert (ignored.generation.tokens, ignored.generation.finish_reason) == (tokens, "length")


def test_decoding_requests_are_never_held_up_by_a_prompt() -> None:
    """While a long prompt is read in chunks, every answer gets a token in every step (bounded inter-token time)."""
    engine = Engine(MODEL, EngineSettings(chunk_tokens=8, prefix_cache="none"))
    short = engine.add(prompt(0, 5), NEVER, SamplingSettings(max_tokens=30))
    engine.step()
    long = engine.add(prompt(1, 80), NEVER, SamplingSettings(max_tokens=2))
    while long.computed < 80:
        written = len(short.generation.tokens)
        engine.step()
        assert len(short.generation.tokens) == written + 1


def test_preempted_requests_write_what_they_would_have_written() -> None:
    engine = Engine(MODEL, EngineSettings(pages=7, prefix_cache="none"))
    preempted: list[int] = []
    preempt = engine.scheduler.preempt
    engine.scheduler.preempt = lambda request: (preempted.append(request.number), preempt(request))[1]
    sampling = SamplingSettings(max_tokens=40, temperature=1.0)
    requests = run_all(engine, [prompt(family, 20) for family in range(4)], sampling)
    assert preempted
    assert 0 not in preempted  # the oldest always advances
    for family, request in enumerate(requests):
        plain = Engine(MODEL, EngineSettings(prefix_cache="none"))
        assert request.generation.tokens == run_all(plain, [prompt(family, 20)], sampling)[0].generation.tokens


def test_equal_prompts_share_pages() -> None:
    engine = Engine(MODEL, EngineSettings(chunk_tokens=70, min_prefix=1))
    for sample in range(3):
        engine.add(prompt(0, 65), NEVER, SamplingSettings(temperature=1.0, max_tokens=9), sample=sample)
    for _ in range(4):
        engine.step()
    tables = [request.pages[:4] for request in engine.scheduler.running]
    assert tables[0] == tables[1] == tables[2]
    assert len(engine.pool.references) == 4 + 3
