"""Policy losses against published values, and however a step is cut."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.batching.loader import micro_batches
from tutelage.batching.packing import collate
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import TEMPERATURE, Transformer, initialise
from tutelage.records import Example, ExampleGroup, Schema, Stream
from tutelage.train.loop import count, mean
from tutelage.train.losses import Loss
from tutelage.train.policy_losses import (
    ADVANTAGE,
    KL_ESTIMATORS,
    OLD,
    OLD_VALUE,
    RESPONSE,
    RETURN,
    SAMPLED,
    PolicyOptions,
    ValueOptions,
    importance_weights,
    policy_loss,
    ppo_loss,
)
from tutelage.train.preference_losses import REFERENCE

VOCAB = 31
STREAMS = (SAMPLED, OLD, ADVANTAGE, REFERENCE, OLD_VALUE, RETURN)
SCHEMA = Schema({name: Stream("float32") for name in STREAMS}, {RESPONSE: 0.0})
WITHOUT_OLD = Schema({name: Stream("float32") for name in STREAMS if name != OLD}, {RESPONSE: 0.0})
Gradients = dict[str, torch.Tensor]


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Given(torch.nn.Module):
    """A model whose log-probabilities are given."""

    def __init__(self, logprobs: torch.Tensor) -> None:
        super().__init__()
        self.logprobs = logprobs

    def forward(self, batch: Any) -> torch.Tensor:
        return self.logprobs


def sample(streams: dict[str, list[float]], schema: Schema = SCHEMA) -> ExampleGroup:
    """A sample of which only the streams matter: a prompt of one token, then a token for each number."""
    length = 1 + len(streams[ADVANTAGE])
    columns = {name: np.array([0.0, *streams.get(name, [0.0] * (length - 1))], np.float64) for name in schema.streams}
    weights = np.array([0.0, *[1.0] * (length - 1)], np.float32)
    return (Example(np.zeros(length, np.int32), weights, None, columns, {RESPONSE: 1.0}),)


def loss_of(logprobs: list[float], groups: list[ExampleGroup], options: PolicyOptions) -> float:
    schema = Schema({name: Stream("float64") for name in SCHEMA.streams}, SCHEMA.scalars)
    batch = collate(groups, schema)
    loss = policy_loss(options)
    components, _ = loss.function(Given(numbers(*logprobs)), batch)
    return float(mean(components, count([batch], loss)[2]))


@pytest.mark.parametrize(
    ("ratio", "advantage", "value"), [(1.5, 1, -1.2), (1.5, -1, 1.5), (0.5, 1, -0.5), (0.5, -1, 0.8)]
)
def test_published_values_of_the_clipped_loss(ratio: float, advantage: float, value: float) -> None:
    """PPO (1707.06347, Eq. 7) with epsilon 0.2."""
    group = sample({ADVANTAGE: [advantage]})
    assert loss_of([math.log(ratio)], [group], PolicyOptions()) == pytest.approx(value, abs=1e-9)


def test_clip_higher_lets_a_rare_token_grow() -> None:
    """DAPO (2503.14476): the upper bound alone is wider."""
    group = sample({ADVANTAGE: [1.0]})
    assert loss_of([math.log(1.5)], [group], PolicyOptions(clip_high=0.28)) == pytest.approx(-1.28)
    assert loss_of([math.log(0.5)], [sample({ADVANTAGE: [-1.0]})], PolicyOptions(clip_high=0.28)) == 0.8


def test_the_published_value_of_gspo() -> None:
    """2507.18071: the ratio of a sample is the mean over its tokens, 1.051271, and not the product, 1.221403."""
    group = sample({ADVANTAGE: [1.0] * 4})
    wide = PolicyOptions("gspo", clip_high=0.5, clip_low=0.5)
    assert loss_of([0.1, -0.2, 0.3, 0.0], [group], wide) == pytest.approx(-1.051271, abs=1e-6)
    assert loss_of([0.1, -0.2, 0.3, 0.0], [group], PolicyOptions("gspo", "sequence", 3e-4, 4e-4)) == pytest.approx(
        -1.0004
    )


def test_published_values_of_the_divergence() -> None:
    """Schulman 2020: of one token; expectations over three; and expected gradients by the logits, where k1 in the loss
    has none, k2 that of the reverse divergence and k3 that of the forward one (pain 36)."""
    one = [float(KL_ESTIMATORS[name](numbers(-1), numbers(-1.5))) for name in ("k1", "k2", "k3")]
    assert one == pytest.approx([0.5, 0.125, 0.106531], abs=1e-6)
    logits = numbers(0.5, 0.3, 0.2).log().requires_grad_()
    reference = numbers(0.4, 0.4, 0.2)
    probabilities = logits.softmax(0).detach()
    wanted = {
        "k1": (0.025267, (0.0, 0.0, 0.0)),
        "k2": (0.024862, (0.098938, -0.093885, -0.005053)),
        "k3": (0.025267, (0.1, -0.1, 0.0)),
    }
    for name, (expectation, gradient) in wanted.items():
        values = KL_ESTIMATORS[name](logits.log_softmax(0), reference.log())  # type: ignore[index]
        assert float((probabilities * values.detach()).sum()) == pytest.approx(expectation, abs=1e-6)
        (found,) = torch.autograd.grad((probabilities * values).sum(), logits)
        assert found.tolist() == pytest.approx(gradient, abs=1e-6)
    true = (logits.softmax(0) * (logits.log_softmax(0) - reference.log())).sum()
    assert float(true.detach()) == pytest.approx(0.025267, abs=1e-6)
    (of_true,) = torch.autograd.grad(true, logits)
    assert of_true.tolist() == pytest.approx(wanted["k2"][1], abs=1e-6)


@pytest.mark.parametrize(("mean_", "spread", "bias"), [(0.1, 20.0, 0.0025), (1.0, 2.0, 0.25)])
def test_published_spread_of_k1_and_bias_of_k2(mean_: float, spread: float, bias: float) -> None:
    """Schulman 2020: N(0, 1) against N(mean, 1), by a fine sum: the standard deviation of k1, and the bias of k2, over
    the divergence, mean^2 / 2. k3 is unbiased."""
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2)
    density /= density.sum()
    logprobs, reference = -x.square() / 2, -(x - mean_).square() / 2
    true = mean_**2 / 2
    k1, k2, k3 = (KL_ESTIMATORS[name](logprobs, reference) for name in ("k1", "k2", "k3"))
    assert float((density * k1).sum()) == pytest.approx(true, rel=1e-9)
    assert float((density * (k1 - true).square()).sum().sqrt()) / true == pytest.approx(spread, rel=1e-6)
    assert float((density * k2).sum()) / true - 1 == pytest.approx(bias, rel=1e-6)
    assert float((density * k3).sum()) == pytest.approx(true, rel=1e-9)


def test_pain_40_a_small_offset_of_every_token_does_not_grow_with_the_length() -> None:
    """TRL #4772: 0.012 a token made a ratio of exp(1.2) = 3.3 over 100 tokens. Weights are of tokens, GSPO's ratio is a
    mean, and `clipped` says how much a bound holds back."""
    for length in (1, 10, 100):
        group = sample({ADVANTAGE: [1.0] * length})
        token = loss_of([0.012] * length, [group], PolicyOptions(clip_high=0.2))
        sequence = loss_of([0.012] * length, [group], PolicyOptions("gspo", "sequence", clip_high=0.2))
        assert token == pytest.approx(-math.exp(0.012), abs=1e-6)
        assert sequence == pytest.approx(-math.exp(0.012), abs=1e-6)
    assert importance_weights(torch.full((100,), 0.012), torch.zeros(100), 2.0).max() < 1.02


def test_published_values_of_truncated_importance_weights() -> None:
    found = importance_weights(numbers(0.9, 0.5), numbers(0, 0), 2.0)
    assert found.tolist() == pytest.approx([2.0, 1.648721], abs=1e-6)


def test_pain_39_a_sampler_that_renormalised_is_seen_in_the_weight() -> None:
    """TRL #6789: at a kept mass of 0.895 the log-ratio is -0.111."""
    weight = importance_weights(numbers(math.log(0.3)), numbers(math.log(0.3 / 0.895)), 2.0)
    assert float(weight.log()) == pytest.approx(-0.111, abs=1e-3)


@pytest.mark.parametrize(("normalisation", "value"), [("token", -2.0), ("sequence", -2.5), ("constant", -0.8)])
def test_normalisation(normalisation: Any, value: float) -> None:
    """Samples of 3 and 1 tokens with advantages 1 and 4 and a cap of 5 tokens; masked tokens count nowhere (pain 46:
    TRL #6369 masked the numerator and counted the denominator)."""
    groups = [sample({ADVANTAGE: [4.0]}), sample({ADVANTAGE: [1.0] * 3})]
    groups = groups if normalisation != "token" else [sample({ADVANTAGE: [4.0]}), sample({ADVANTAGE: [4 / 3] * 3})]
    if normalisation == "constant":
        groups = [sample({ADVANTAGE: [5.0]}), sample({ADVANTAGE: [1.0] * 3})]
    masked = sample({ADVANTAGE: [9.0, 9.0]})
    masked[0].weights[:] = 0  # type: ignore[index]
    options = PolicyOptions(normalisation=normalisation, max_tokens=5)
    assert loss_of([0.0] * 4, [*groups, masked], options) == pytest.approx(value)


def example(seed: int, length: int, prompt: int) -> Example:
    random = np.random.default_rng(seed)
    weights = np.zeros(length, np.float32)
    weights[prompt:] = 1
    columns = {name: random.normal(-3.4, 0.4, length).astype(np.float32) for name in (SAMPLED, OLD, REFERENCE)}
    columns |= {name: random.normal(0, 1, length).astype(np.float32) for name in (ADVANTAGE, OLD_VALUE, RETURN)}
    return Example(random.integers(0, VOCAB, length).astype(np.int32), weights, None, columns, {RESPONSE: 1.0})


def text(seed: int, length: int) -> ExampleGroup:
    """Replayed text, which carries nothing of samples."""
    random = np.random.default_rng(seed)
    return (Example(random.integers(0, VOCAB, length).astype(np.int32), np.ones(length, np.float32)),)


def samples_and_text() -> list[ExampleGroup]:
    lengths = [(30, 9), (12, 5), (40, 38), (7, 2), (25, 4)]
    return [*((example(n, *both),) for n, both in enumerate(lengths)), text(50, 33), text(51, 7)]


def model() -> Transformer:
    made = initialise(Transformer(resolve(ModelSettings(depth=2, width=32, heads=2, context=64), VOCAB)), seed=0)
    made.set_head("value", 0.2 * torch.randn((1, 32), generator=torch.Generator().manual_seed(1)))
    return made.double()


def gradients(loss: Loss, parts: list[list[Any]]) -> tuple[dict[str, float], Gradients]:
    """The metrics and gradients of a step, of the micro-batches of each process."""
    made = model()
    every = [batch for part in parts for batch in part]
    denominators = count(every, loss)[2]
    pairs: dict[str, float] = {}
    for batch in every:
        components, metrics = loss.function(made, batch)
        mean(components, denominators).backward()
        for name, both in metrics.pairs.items():
            for key, value in zip((name, f"count.{name}"), both, strict=True):
                pairs[key] = pairs.get(key, 0.0) + value
    return pairs, {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}


LOSSES: dict[str, Loss] = {
    "clip": policy_loss(PolicyOptions(kl=0.3, replay=0.7)),
    "sequence": policy_loss(PolicyOptions(normalisation="sequence", kl=0.3)),
    "constant": policy_loss(PolicyOptions(normalisation="constant", max_tokens=40, importance_cap=2.0)),
    "gspo": policy_loss(PolicyOptions("gspo", "sequence", kl=0.3, kl_estimator="k3")),
    "cispo": policy_loss(PolicyOptions("cispo")),
    "reinforce": policy_loss(PolicyOptions("reinforce")),
    "ppo": ppo_loss(PolicyOptions(replay=0.7), ValueOptions()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_pains_47_and_48_however_a_step_is_cut_its_gradient_is_the_same(name: str) -> None:
    """Packed equals one by one; eight micro-batches equal one; two processes, one of which idles, equal one."""
    loss, groups = LOSSES[name], samples_and_text()
    figures, whole = gradients(loss, [micro_batches(groups, 10_000, schema=SCHEMA)])
    alone = [[collate([group], SCHEMA)] for group in groups]
    two = [micro_batches(groups, 60, rank, 2, SCHEMA) for rank in range(2)]
    idle = [micro_batches(groups[:1], 60, rank, 2, SCHEMA) for rank in range(2)]
    assert any(batch.padding for part in idle for batch in part)
    for parts in (alone, two):
        cut_figures, cut = gradients(loss, parts)
        assert cut_figures == pytest.approx(figures, rel=1e-9, abs=1e-9)
        for parameter, gradient in whole.items():
            torch.testing.assert_close(cut[parameter], gradient, rtol=1e-8, atol=1e-11)
    one, padded = gradients(loss, [micro_batches(groups[:1], 10_000, schema=SCHEMA)]), gradients(loss, idle)
    assert padded[0] == pytest.approx(one[0])
    for parameter, gradient in one[1].items():
        torch.testing.assert_close(padded[1][parameter], gradient, rtol=1e-8, atol=1e-11)


POLICY = {
    "loss_type": [{"loss_type": name} for name in ("gspo", "cispo", "reinforce")],
    "normalisation": [{"normalisation": "sequence"}, {"normalisation": "constant", "max_tokens": 40}],
    "clip_low": [{"clip_low": 0.05}],
    "clip_high": [{"clip_high": 0.05}],
    "importance_cap": [{"importance_cap": 1.1}, {"importance_cap": 0.9}],
    "kl": [{"kl": 0.2}],
    "kl_estimator": [{"kl": 0.2, "kl_estimator": "k3"}],
    "max_tokens": [{"normalisation": "constant", "max_tokens": 30}],
    "replay": [{"replay": 0.5}],
}


def test_pain_21_every_option_changes_the_gradient() -> None:
    assert POLICY.keys() == set(PolicyOptions._fields)
    batches = [micro_batches(samples_and_text(), 10_000, schema=SCHEMA)]
    every: list[Loss] = [policy_loss(PolicyOptions())]
    every += [policy_loss(PolicyOptions(**options)) for others in POLICY.values() for options in others]
    values = (ValueOptions(), ValueOptions(weight=0.1), ValueOptions(clip=0.01))
    assert len(values) == 1 + len(ValueOptions._fields)
    every += [ppo_loss(PolicyOptions(), value) for value in values]
    found = [gradients(loss, batches)[1] for loss in every]
    for (number, one), (other_number, other) in combinations(enumerate(found), 2):
        shared = one.keys() & other.keys()
        same = all(torch.allclose(one[name], other[name], rtol=1e-4, atol=1e-12) for name in shared)
        assert not (same and one.keys() == other.keys()), (number, other_number)


def test_on_fresh_samples_the_ratio_is_one_and_all_ratio_losses_agree() -> None:
    """Without old log-probabilities the policy before the step is the present one."""
    fresh = [(replaced(group),) for (group,) in samples_and_text()]
    batches = [micro_batches(fresh, 10_000, schema=WITHOUT_OLD)]
    figures, plain = gradients(policy_loss(PolicyOptions("reinforce")), batches)
    assert figures["ratio"] == pytest.approx(figures["count.ratio"])
    assert figures["clipped"] == 0
    for name in ("clip", "cispo"):
        _, other = gradients(policy_loss(PolicyOptions(name)), batches)  # type: ignore[arg-type]
        for parameter, gradient in plain.items():
            torch.testing.assert_close(other[parameter], gradient, rtol=1e-8, atol=1e-11)


def replaced(one: Example) -> Example:
    streams = {name: column for name, column in one.streams.items() if name != OLD}
    return Example(one.tokens, one.weights, None, streams, one.scalars)


def test_pain_33_the_divergence_that_is_logged_is_the_one_that_is_trained() -> None:
    """TRL #1161. With k2 on fresh samples the component is the logged mean times its factor."""
    groups = [(replaced(group),) for (group,) in samples_and_text()]
    batch = collate(groups, WITHOUT_OLD)
    loss = policy_loss(PolicyOptions(kl=0.25))
    components, metrics = loss.function(model(), batch)
    mean_kl = float(components["kl"].detach()) / count([batch], loss)[2]["kl"]
    assert mean_kl == pytest.approx(0.25 * metrics.means()["kl_k2"], rel=1e-9)


def test_pain_38_log_probabilities_are_at_the_temperature_of_their_segment() -> None:
    """TRL #4159: a ratio of 2 at temperature 0.6. The trainer's log-probabilities are those that the engine drew from;
    replayed text beside the samples stays at 1."""
    made = model()
    prompts = [np.array([1, 2, 3], np.int32), np.array([4, 5], np.int32)]
    settings = SamplingSettings(temperature=0.6, max_tokens=9, seed=3)
    written = generate(made, prompts, frozenset({0}), settings)
    groups = []
    for prompt, generation in zip(prompts, written, strict=True):
        tokens = np.array([*prompt, *generation.tokens], np.int32)
        weights = np.array([*[0.0] * len(prompt), *[1.0] * len(generation.tokens)], np.float32)
        groups.append((Example(tokens, weights, None, {}, {TEMPERATURE: 0.6}),))
    batch = collate([*groups, text(3, 9)], Schema(scalars={TEMPERATURE: 1.0}))
    found = made(batch)
    sampled = [value for generation in written for value in generation.sample_logprobs]
    assert found[: len(sampled)].tolist() == pytest.approx(sampled, abs=1e-5)
    alone = collate([text(3, 9)])
    torch.testing.assert_close(found[len(sampled) :], made(alone))
