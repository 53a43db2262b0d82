"""Any program of add, step, cancel and evict gives every request the answer it gets alone, and loses no page.

Numbers in names are the invariants of an engine and the known bugs of others that a test excludes (S1 to S13).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from engine_model import CONTEXT, MODEL, NEVER, STOP, AlwaysPays, alone, make_model, prompt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tutelage.engine.adapters import LoraAdapter
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.pages import PAGE, PagePool
from tutelage.engine.requests import Request
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.scheduler import QueueFullError

DRAFT = make_model(seed=3, depth=1)
WINDOWED = make_model(window=11, windowed=(1,), attention_softcap=20.0, unrotated=(0,))
Question = tuple[list[int], SamplingSettings, int, int, LoraAdapter | None]


def make_adapter(seed: int, matrices: tuple[str, ...] = ("qkv", "mlp_down")) -> LoraAdapter:
    """Pairs of rank 2 in both layers, large enough to change what is written."""
    generator, pairs = torch.Generator().manual_seed(seed), {}
    for layer, block in enumerate(MODEL.blocks):
        for matrix in matrices:
            outputs, inputs = getattr(block, matrix).weight.shape
            a_RI, b_OR = torch.randn(2, inputs, generator=generator), torch.randn(outputs, 2, generator=generator)
            pairs[layer, matrix] = a_RI.double() * 0.3, b_OR.double() * 0.3
    return LoraAdapter(pairs, f"seed {seed}")


ADAPTERS = [make_adapter(0), make_adapter(1), make_adapter(2, ("attention_out", "mlp_up"))]


class EngineMachine(RuleBasedStateMachine):
    """Programs for one engine with few pages, so that requests are preempted and pages evicted."""

    model = MODEL

    @initialize(
        pages=st.integers(6, 20),
        rows=st.integers(1, 5),
        chunk=st.sampled_from([3, 17, 40, 500]),
        cache=st.sampled_from(["none", "prompts", "all"]),
        min_prefix=st.sampled_from([1, 20]),
        guesses=st.sampled_from(["none", "ngram", "model"]),
    )
    def start(self, pages: int, rows: int, chunk: int, cache: str, min_prefix: int, guesses: str) -> None:
        chosen = {"max_rows": rows, "pages": pages, "chunk_tokens": chunk, "queue": 6}
        chosen |= {"min_prefix": min_prefix, "speculate": 0 if guesses == "none" else 3}
        self.draft = DRAFT if guesses == "model" else None
        self.engine = Engine(self.model, EngineSettings(**chosen, prefix_cache=cache), self.draft)  # type: ignore[arg-type]
        if self.engine.speculation is not None:
            self.engine.speculation.payoffs = {size: AlwaysPays() for size in range(4)}
        self.added: list[tuple[Request, Question]] = []
        self.adapters: list[LoraAdapter | None] = [None, *ADAPTERS[:2]]  # by the name that a server would give them

    @rule(
        family=st.integers(0, 2),
        length=st.integers(1, CONTEXT - 1),
        max_tokens=st.integers(1, 40),
        temperature=st.sampled_from([0.0, 1.0]),
        sample=st.integers(0, 1),
        name=st.integers(0, 2),
    )
    def add(self, family: int, length: int, max_tokens: int, temperature: float, sample: int, name: int) -> None:
        ids, adapter = prompt(family, length), self.adapters[name]
        temperature = 0.0 if self.draft else temperature  # a draft model changes which tokens are drawn
        sampling = SamplingSettings(temperature=temperature, max_tokens=max_tokens, seed=1)
        if len(self.engine.scheduler.waiting) == 6:
            with pytest.raises(QueueFullError, match="wait already"):
                self.engine.add(ids, STOP, sampling, family, sample, adapter=adapter)
        else:
            request = self.engine.add(ids, STOP, sampling, family, sample, adapter=adapter)
            self.added.append((request, (ids, sampling, family, sample, adapter)))

    @rule(count=st.integers(1, 12))
    def step(self, count: int) -> None:
        for _ in range(count):
            before = [len(request.generation.tokens) for request, _ in self.added]
            advanced = self.engine.step()
            after = [len(request.generation.tokens) for request, _ in self.added]
            grown = [request for (request, _), b, a in zip(self.added, before, after, strict=True) if a > b]
            assert set(map(id, grown)) <= set(map(id, advanced))

    @precondition(lambda self: self.added)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from([request for request, _ in self.added]))
        finished, reason = request.state == "finished", request.generation.finish_reason
        self.engine.cancel(request)
        assert request.state == "finished"
        assert request.generation.finish_reason == (reason if finished else "cancelled")
        assert not request.pages

    @rule()
    def evict(self) -> None:
        self.engine.pool.clear()

    @rule(name=st.integers(1, 2), other=st.sampled_from(ADAPTERS))
    def swap_adapter(self, name: int, other: LoraAdapter) -> None:
        """A server reloads an adapter in place, or gives its name to another one."""
        self.adapters[name] = other

    def paused(self) -> list[Request]:
        return [request for request, _ in self.added if request.state == "paused"]

    def pausable(self) -> list[Request]:
        return [request for request, _ in self.added if request.state == "running" and request.generation.tokens]

    @precondition(lambda self: self.pausable())
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.pausable()))
        computed = request.computed
        self.engine.pause(request)
        assert (request.state, request.row, request.computed) == ("paused", -1, computed)

    @precondition(lambda self: self.paused())
    @rule(data=st.data(), count=st.integers(0, 20))
    def tool_result(self, data: st.DataObject, count: int) -> None:
        request = data.draw(st.sampled_from(self.paused()))
        room = min(CONTEXT, self.engine.pool.total * PAGE) - 1 - len(request.ids)
        if room < 0:
            with pytest.raises(ValueError, match="context|cache"):
                self.engine.resume(request, [])
            self.engine.cancel(request)
        else:
            self.engine.resume(request, prompt(7, min(count, room)))

    @invariant()
    def no_page_is_lost(self) -> None:
        self.engine.check()
        # Preempted and resumed ones may exceed the queue's limit.
        assert len(self.engine.scheduler.waiting) <= 6 + self.engine.settings.max_rows + len(self.added)

    @invariant()
    def every_answer_so_far_is_that_of_the_request_alone(self) -> None:
        for request, question in self.added:
            found = request.generation
            injected = tuple((written, tuple(ids)) for written, ids in found.injected)
            expected = alone(self.model, *question, injected)
            count = len(found.tokens)
            assert found.tokens == expected.tokens[:count]
            np.testing.assert_allclose(found.logprobs, expected.logprobs[:count], atol=1e-9)
            np.testing.assert_allclose(found.sample_logprobs, expected.sample_logprobs[:count], atol=1e-9)
            if request.state == "finished" and found.finish_reason != "cancelled":
                full = len(request.ids) >= self.engine.pool.total * PAGE
                assert full or (found.tokens, found.finish_reason) == (expected.tokens, expected.finish_reason)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            for request in self.paused():
                if len(request.ids) < min(CONTEXT, self.engine.pool.total * PAGE):
                    self.engine.resume(request, [])
                else:
                    self.engine.cancel(request)
            self.engine.run()
            self.every_answer_so_far_is_that_of_the_request_alone()
            self.engine.check()
            assert not self.engine.pool.references
            self.engine.pool.clear()
            assert len(self.engine.pool.free) == self.engine.pool.fresh


class WindowedMachine(EngineMachine):
    """The same with a sliding window, capped scores and an unrotated layer."""

    model = WINDOWED


FUZZ = settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
TestEngine = EngineMachine.TestCase
TestEngine.settings = FUZZ
TestWindowedEngine = WindowedMachine.TestCase
TestWindowedEngine.settings = settings(FUZZ, max_examples=15)


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


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), max_size=30), st.integers(1, 6))
def test_the_page_before_is_part_of_a_pages_key(uses: list[tuple[int, int]], total: int) -> None:
    """S2: two prefixes whose last page has the same tokens are two pages, whatever was evicted and used again."""
    pool = PagePool(total)
    for family, count in uses:
        ids = [family] * PAGE + [7] * (3 * PAGE) + [0]
        pages = pool.match("weights", ids[: count * PAGE + 1])
        for place, page in enumerate(pages):
            assert pool.key_of[page][1] == tuple(ids[place * PAGE : (place + 1) * PAGE])
        assert not pages or pool.key_of[pages[0]] == ("weights", tuple(ids[:PAGE]))
        own = pool.allocate(count - len(pages))
        if own is not None:
            for place in range(len(pages), count):
                parent = pages[place - 1] if place else "weights"
                pages.append(pool.publish(parent, ids[place * PAGE : (place + 1) * PAGE], own[place - count]))
        pool.check([pages])
        pool.release(pages)
        pool.check([])


def test_pages_of_other_weights_are_not_found() -> None:
    pool = PagePool(4)
    [page] = pool.allocate(1) or []
    pool.publish("weights", [1] * PAGE, page)
    assert pool.match("weights", [1] * 17) == [page]
    assert pool.match("other", [1] * 17) == []
