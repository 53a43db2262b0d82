"""Any program of add, step, cancel and evict gives every request the answer it gets alone, and loses no page.

Numbers in names are the invariants of an engine and the known bugs of others that a test excludes (S1 to S13).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_model import CONTEXT, MODEL, STOP, AlwaysPays, alone, make_model, prompt
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tutelage.engine.adapters import LoraAdapter
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.pages import PAGE
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
        pages=st.sampled_from([6, 7, 8, 12, 20]),  # few, so that requests are preempted
        rows=st.sampled_from([1, 3, 5]),
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
        if len(self.engine.scheduler.waiting) >= 6:  # preempted and resumed ones may exceed it
            with pytest.raises(QueueFullError, match="wait already"):
                self.engine.add(ids, STOP, sampling, family, sample, adapter=adapter)
        else:
            request = self.engine.add(ids, STOP, sampling, family, sample, adapter=adapter)
            self.added.append((request, (ids, sampling, family, sample, adapter)))

    @rule(count=st.integers(1, 30))
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
