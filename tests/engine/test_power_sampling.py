"""Power sampling against the exact distribution: every answer of a small model is enumerated."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch

from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.power_sampling import PowerPrompt, PowerSettings, power_samples
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise

VOCAB, LENGTH, POWER, COUNT = 4, 3, 2.0, 500
STOP = frozenset({0})
PROMPT = [1, 2, 3]
Answer = tuple[int, ...]


@pytest.fixture(scope="module")
def model() -> Transformer:
    """Float64; weights large enough that the next token depends on all tokens before it."""
    config = resolve(ModelSettings(depth=1, width=16, heads=2, context=16), VOCAB)
    model = initialise(Transformer(config), 1).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return model


@torch.inference_mode()
def enumerated(model: Transformer, temperature: float = 1.0, stops: frozenset[int] = STOP) -> dict[Answer, float]:
    """The probability of every answer, drawn token by token at a temperature."""

    def next_logprobs(ids: list[int]) -> list[float]:
        tokens, places = torch.tensor(ids), torch.arange(len(ids))
        hidden = model.hidden(tokens, places, model.within_segments((len(ids),)))
        return (model.logits(hidden[-1:])[0, :VOCAB] / temperature).log_softmax(-1).tolist()

    found: dict[Answer, float] = {}
    for length in range(LENGTH):
        for before in product([token for token in range(VOCAB) if token not in stops], repeat=length):
            logprobs = [next_logprobs([*PROMPT, *before[:place]])[token] for place, token in enumerate(before)]
            for token, logprob in enumerate(next_logprobs([*PROMPT, *before])):
                if token in stops or length == LENGTH - 1:
                    found[(*before, token)] = float(np.exp(sum(logprobs) + logprob))
    assert sum(found.values()) == pytest.approx(1)
    return found


def powered(exact: dict[Answer, float], power: float) -> dict[Answer, float]:
    total = sum(value**power for value in exact.values())
    return {answer: value**power / total for answer, value in exact.items()}


def chi_square(counts: Counter[Answer], exact: dict[Answer, float]) -> tuple[float, int]:
    """The statistic, with its degrees of freedom, of answers that are expected at least 5 times; the rest are one."""
    total = sum(counts.values())
    often = [answer for answer, share in exact.items() if share * total >= 5]
    cells = [(counts[answer], exact[answer] * total) for answer in often]
    rest = total - sum(seen for seen, _ in cells), total - sum(expected for _, expected in cells)
    cells += [rest] if rest[1] > 1 else []
    return sum((seen - expected) ** 2 / expected for seen, expected in cells), len(cells) - 1


def drawn(
    model: Transformer, settings: PowerSettings, count: int = COUNT, seed: int = 0, stops: frozenset[int] = STOP
) -> list[Answer]:
    engine = Engine(model, EngineSettings(max_rows=256, prefix_cache="none"))
    prompts = [PowerPrompt(PROMPT, 5, number) for number in range(count)]
    sampling = SamplingSettings(max_tokens=LENGTH, seed=seed)
    return [tuple(one.tokens) for one in power_samples(engine, prompts, stops, sampling, settings)]


def is_drawn_from(answers: list[Answer], exact: dict[Answer, float]) -> bool:
    statistic, degrees = chi_square(Counter(answers), exact)
    assert degrees >= 5
    return statistic < degrees + 4 * np.sqrt(2 * degrees)


def test_answers_have_the_power_of_their_probability(model: Transformer) -> None:
    """A low temperature gives another distribution, and the same test tells the two apart."""
    every = enumerated(model)
    answers = drawn(model, PowerSettings(power=POWER, block=LENGTH, moves=40))
    cold = drawn(model, PowerSettings(power=POWER, block=LENGTH, moves=0))
    assert is_drawn_from(answers, powered(every, POWER)) and not is_drawn_from(cold, powered(every, POWER))
    assert is_drawn_from(cold, enumerated(model, 1 / POWER))
    assert is_drawn_from(drawn(model, PowerSettings(power=1, moves=2)), every)


def test_blocks_lead_to_the_same_distribution(model: Transformer) -> None:
    """Moves rewrite earlier blocks too. No token stops, since an answer that ends in a block is returned after it."""
    every = enumerated(model, stops=frozenset())
    settings = PowerSettings(power=POWER, block=2, moves=10)
    assert is_drawn_from(drawn(model, settings, stops=frozenset()), powered(every, POWER))


def test_an_answer_depends_on_nothing_else_in_the_batch(model: Transformer) -> None:
    settings = PowerSettings(power=POWER, block=2, moves=3)
    many = drawn(model, settings, 12)
    assert drawn(model, settings, 5) == many[:5] and len({*many}) > 1
    assert drawn(model, settings, 12, seed=1) != many


def test_how_an_answer_ends(model: Transformer) -> None:
    ended: list[int] = []
    engine = Engine(model, EngineSettings(max_rows=8))
    prompts = [PowerPrompt([*PROMPT, 1], 5, number) for number in range(8)]
    sampling, settings = SamplingSettings(max_tokens=6), PowerSettings(power=POWER, block=2, moves=2)
    answers = power_samples(engine, prompts, STOP, sampling, settings, done=lambda place, _: ended.append(place))
    assert sorted(ended) == [*range(8)]
    for answer in answers:
        assert (answer.stop_token == 0) == (answer.finish_reason == "stop") == (answer.tokens[-1] == 0)
        assert answer.finish_reason == "stop" or len(answer.tokens) == 6
        assert 0 not in answer.tokens[:-1]
        assert len(answer.tokens) == len(answer.logprobs) == len(answer.sample_logprobs)
    assert {answer.finish_reason for answer in answers} == {"stop", "length"}
    engine.check()


def test_an_impossible_search_is_refused() -> None:
    with pytest.raises(ValueError, match="power is 0; it must be above 0"):
        PowerSettings(power=0)
    with pytest.raises(ValueError, match="block is 0 and moves is 10"):
        PowerSettings(block=0)
