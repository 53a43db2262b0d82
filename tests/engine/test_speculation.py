"""Speculative decoding writes what plain decoding writes; numbers in names are known bugs of others (S12, S13, S26)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from engine_model import AlwaysPays
from hypothesis import given
from hypothesis import strategies as st

from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.ngram_drafts import NgramIndex
from tutelage.engine.requests import Request, StepPlan
from tutelage.engine.sampling import SamplingSettings, draw, verify_draft
from tutelage.engine.speculation import FIRST_PAUSE, MEASURED, Payoff
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise

NEVER: frozenset[int] = frozenset()
# The highest chi-square with 7 and with 63 degrees of freedom that chance exceeds once in 1,000 tests.
CHI_SQUARE = {7: 24.3, 63: 103.4}


def make(vocab: int, seed: int, depth: int = 1, scale: float = 12.0) -> Transformer:
    model = initialise(Transformer(resolve(ModelSettings(depth=depth, width=32, heads=2, context=128), vocab)), seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    return model.double()


MODEL, SMALLER = make(23, 1, depth=2), make(23, 2)


def guessing(model: Transformer, most: int = 4, draft: Transformer | None = None, rows: int = 64) -> Engine:
    engine = Engine(model, EngineSettings(max_rows=rows, speculate=most, min_prefix=1), draft)
    assert engine.speculation is not None
    engine.speculation.payoffs = {size: AlwaysPays() for size in range(12)}
    return engine


def repeating_prompts(count: int) -> list[list[int]]:
    """Each repeats a phrase of its own; ten share each beginning."""
    phrases = np.random.default_rng(0).integers(4, 23, (count // 10, 12)).tolist()
    return [(phrases[n // 10] * 4)[: 20 + n % 10] for n in range(count)]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("drafts", ["ngram", "smaller", "same"])
def test_s13_guesses_change_no_token_with_the_prefix_cache_on(drafts: str, temperature: float) -> None:
    """50 prompts; sampled tokens too, where guesses are certain: a draw is a function of seed and position alone. The
    cache then holds nothing of rejected guesses: the same prompts again, longer by their answers, are answered as by an
    engine without a cache."""
    if temperature and drafts != "ngram":
        pytest.skip("a draft model changes which tokens are drawn, not their distribution")
    sampling = SamplingSettings(max_tokens=20, temperature=temperature, presence_penalty=0.3)
    plain = Engine(MODEL, EngineSettings(prefix_cache="none"))
    engine = guessing(MODEL, draft={"ngram": None, "smaller": SMALLER, "same": MODEL}[drafts])
    prompts = repeating_prompts(50)
    for _ in range(2):
        expected = [plain.add(prompt, NEVER, sampling) for prompt in prompts]
        found = [engine.add(prompt, NEVER, sampling) for prompt in prompts]
        for each in (plain, engine):
            each.run()
            each.check()
        for one, other in zip(found, expected, strict=True):
            assert one.generation.tokens == other.generation.tokens
            np.testing.assert_allclose(one.generation.logprobs, other.generation.logprobs, atol=1e-9)
            np.testing.assert_allclose(one.generation.sample_logprobs, other.generation.sample_logprobs, atol=1e-9)
        prompts = [request.ids for request in expected]
    assert found[0].generation.cached_tokens > 16
    assert engine.speculation is not None
    drafted, accepted = engine.speculation.drafted, engine.speculation.accepted
    assert 0 < accepted < drafted or (drafts == "same" and 0 < accepted <= drafted)
    assert not engine.speculation.lengths


def test_a_model_that_guesses_for_itself_is_always_right_and_saves_passes() -> None:
    engine, passes = guessing(MODEL, most=4, draft=MODEL), 0
    request = engine.add([5, 6, 7], NEVER, SamplingSettings(max_tokens=21))
    while request.state != "finished":
        engine.step()
        passes += 1
    assert engine.speculation is not None
    assert engine.speculation.drafted == engine.speculation.accepted == 16
    assert passes == 1 + 4


def peaked(seed: int) -> torch.Tensor:
    return torch.randn(8, generator=torch.Generator().manual_seed(seed)).mul(1.5).softmax(0).double()


P = peaked(0)
DRAFTS = {
    "good": (P + 0.05).div(1.4),
    "bad": peaked(9),
    "adversarial": (1 - P).where(P.max() > P, 0.0),  # never guesses the most likely token
}


@pytest.mark.parametrize("kind", DRAFTS)
def test_s12_verified_drafts_are_distributed_as_the_model(kind: str) -> None:
    """Vocabulary 8, 20,000 draws: a chi-square test of the accept and residual rule."""
    p_V, q_V = P / P.sum(), DRAFTS[kind] / DRAFTS[kind].sum()
    uniforms = np.random.default_rng(3).random((20_000, 3))
    counts = np.zeros(8)
    for first, second, third in uniforms:
        token, logprob = verify_draft(p_V, q_V, draw(q_V, first), second, third)
        assert logprob == float(p_V[token].log())
        counts[token] += 1
    expected = p_V.numpy() * len(uniforms)
    assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARE[7]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_s12_an_engine_with_a_draft_model_samples_from_its_own_model(temperature: float) -> None:
    """The joint distribution of the second and third token of 2,500 samples, both guessed."""
    model, draft = make(8, 3, scale=6.0), make(8, 4, scale=6.0)
    sampling = SamplingSettings(max_tokens=3, temperature=temperature, seed=5)
    engine = guessing(model, most=2, draft=draft, rows=500)
    engine.add([1, 2], NEVER, SamplingSettings(max_tokens=1))
    requests = [engine.add([1, 2], NEVER, sampling, sample=sample) for sample in range(2_500)]
    engine.run()
    assert engine.speculation is not None
    assert 0 < engine.speculation.accepted < engine.speculation.drafted
    counts = np.zeros((8, 8))
    for request in requests:
        counts[request.generation.tokens[1], request.generation.tokens[2]] += 1
    expected = np.zeros((8, 8))
    with torch.inference_mode():
        for first in range(8):
            for second in range(8):
                ids = torch.tensor([1, 2, first, second])
                hidden = model.hidden(ids, torch.arange(4), model.within_segments((4,)))
                steps = (model.logits(hidden) / temperature).softmax(-1).numpy()
                expected[second] += steps[1, first] * steps[2, second] * steps[3]
    expected *= len(requests)
    assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARE[63]


def test_stop_tokens_and_lengths_end_a_request_inside_a_draft() -> None:
    plain = Engine(MODEL)
    whole = plain.add([5, 6, 7], NEVER, SamplingSettings(max_tokens=20))
    plain.run()
    tokens = whole.generation.tokens
    stop = frozenset({tokens[7]})
    expected = tokens[: tokens.index(tokens[7]) + 1]
    for most in (1, 3, 8):
        engine = guessing(MODEL, most, draft=MODEL)
        stopped = engine.add([5, 6, 7], stop, SamplingSettings(max_tokens=20))
        short = engine.add([5, 6, 7], NEVER, SamplingSettings(max_tokens=7))
        engine.run()
        assert stopped.generation.tokens == expected
        assert (stopped.generation.finish_reason, short.generation.finish_reason) == ("stop", "length")
        assert short.generation.tokens == tokens[:7]


def test_the_context_and_the_pool_are_used_as_without_guesses() -> None:
    for settings in (EngineSettings(), EngineSettings(pages=3)):
        results = []
        for most in (0, 6):
            engine = Engine(MODEL, EngineSettings(pages=settings.pages, speculate=most), MODEL if most else None)
            if engine.speculation is not None:
                engine.speculation.payoffs = {size: AlwaysPays() for size in range(12)}
            request = engine.add([5, 6, 7], NEVER, SamplingSettings(max_tokens=500))
            engine.run()
            results.append((request.generation.tokens, request.generation.finish_reason))
        assert results[0] == results[1]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 6), st.lists(st.integers(1, 40)))
def test_a_guess_is_what_followed_the_longest_earlier_n_gram_last(ids: list[int], most: int, cuts: list[int]) -> None:
    """And looking up while the text grows gives what looking up once gives."""
    index = NgramIndex()
    for cut in sorted(cuts):
        index.lookup(ids[:cut], most)
    expected: list[int] = []
    for size in (4, 3, 2):
        places = [end for end in range(size, len(ids)) if ids[end - size : end] == ids[len(ids) - size :]]
        if places and size <= len(ids):
            expected = ids[places[-1] : places[-1] + most]
            break
    assert index.lookup(ids, most) == expected


def decode(payoff: Payoff, steps: int, plain_seconds: float, drafted_seconds: float, tokens: int) -> Iterator[bool]:
    """Whether each step guessed."""
    for _ in range(steps):
        guessed = payoff.allows()
        payoff.note(drafted_seconds if guessed else plain_seconds, tokens if guessed else 1, guessed)
        yield guessed


def test_s26_guessing_stops_by_itself_where_verifying_costs_more_than_it_saves() -> None:
    """As with 8-bit products that are only fast for one row: 3 tokens a pass, but the pass takes 5 times as long."""
    bad, good = Payoff(), Payoff()
    guessed = list(decode(bad, 2_000, plain_seconds=1.0, drafted_seconds=5.0, tokens=3))
    assert guessed[:MEASURED] == [False] * MEASURED
    assert guessed[MEASURED : 2 * MEASURED] == [True] * MEASURED
    assert guessed[2 * MEASURED : 2 * MEASURED + FIRST_PAUSE - 1] == [False] * (FIRST_PAUSE - 1)
    assert sum(guessed) < 40  # it tries again ever more rarely
    assert sum(decode(good, 2_000, plain_seconds=1.0, drafted_seconds=2.0, tokens=3)) == 2_000 - MEASURED


def test_s26_an_engine_measures_its_own_steps() -> None:
    """With a clock by which a pass takes as long as the tokens that it reads, guesses never pay."""
    engine = Engine(MODEL, EngineSettings(speculate=4), SMALLER)
    speculation, now, read = engine.speculation, [0.0], []
    assert speculation is not None
    speculation.clock = lambda: now[0]
    forward = engine.rows.forward

    def timed(plan: StepPlan) -> torch.Tensor:
        read.append(sum(1 + len(request.draft.tokens) if request.draft else 1 for request in plan.decodes))
        now[0] += read[-1]
        return forward(plan)

    engine.rows.forward = timed  # type: ignore[method-assign]
    engine.add([5, 6, 7], NEVER, SamplingSettings(max_tokens=100))
    engine.run()
    assert 0 < speculation.drafted < 60
    assert sum(count > 1 for count in read) <= 3 * MEASURED


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="the draft model has 8 tokens, the model 23; a draft model needs the same"):
        Engine(MODEL, EngineSettings(speculate=4), make(8, 1))
    with pytest.raises(ValueError, match="a draft model is given, but speculate is 0"):
        Engine(MODEL, EngineSettings(), SMALLER)
    with pytest.raises(ValueError, match="speculate is -1; it must be at least 0"):
        EngineSettings(speculate=-1)


def test_drafts_in_float32_are_read_by_the_compiled_loops_as_without_them() -> None:
    model = make(23, 1, depth=2, scale=3.0).float()
    plain, engine = Engine(model), guessing(model, most=5, draft=make(23, 2).float())
    requests: list[list[Request]] = []
    for each in (plain, engine):
        requests.append([each.add([4 + n, 6, 7], NEVER, SamplingSettings(max_tokens=15)) for n in range(5)])
        each.run()
    for one, other in zip(*requests, strict=True):
        np.testing.assert_allclose(one.generation.logprobs, other.generation.logprobs, atol=1e-4)
