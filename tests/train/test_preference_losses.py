"""Losses of preferences against published values, against TRL, and however a step is cut."""

from __future__ import annotations

import math
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tutelage.batching.loader import micro_batches
from tutelage.batching.packing import collate
from tutelage.batching.preferences import LABEL, MARGIN, SIDE
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example, ExampleGroup, Schema, Stream
from tutelage.stages.dpo import Dpo
from tutelage.stages.fine_tune import FineTune
from tutelage.stages.kto import Kto
from tutelage.stages.preferences import PreferenceStage
from tutelage.stages.reward import RewardModel
from tutelage.train.loop import count, mean
from tutelage.train.losses import Loss
from tutelage.train.preference_losses import (
    PAIR_LOSSES,
    REFERENCE,
    Z0,
    LossOptions,
    PairLogprobs,
    kto,
    kto_loss,
    log1mexp,
    log_odds_ratio,
    pair_logprobs,
    pair_loss,
)
from tutelage.train.reward_losses import bradley_terry, reward_loss

VOCAB = 31
PAIRS = Schema({REFERENCE: Stream("float32")}, {SIDE: 0.0, MARGIN: 0.0})
LABELS = Schema({REFERENCE: Stream("float32")}, {LABEL: 0.0, Z0: 0.0})


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


ONE = PairLogprobs(*(numbers(value) for value in (-10, -12, -11, -11.5, 5, 4)))


@pytest.mark.parametrize(
    ("name", "options", "value"),
    [
        ("sigmoid", LossOptions(0.1), 0.620957),
        ("sigmoid", LossOptions(0.1, 0.1), 0.635957),
        ("robust", LossOptions(0.1, 0.1), 0.602207),
        ("ipo", LossOptions(0.1), 12.25),
        ("ipo_mean", LossOptions(0.1), 21.855625),
        ("simpo", LossOptions(2.0, gamma=0.5), 0.201413),
    ],
)
def test_published_values_and_pain_26_ipo_by_sum_and_by_mean(name: Any, options: LossOptions, value: float) -> None:
    """DPO (2305.18290), cDPO, robust DPO (2403.00409), IPO (2310.12036), SimPO (2405.14734)."""
    kind = PAIR_LOSSES[name]
    assert float(kind.loss(kind.margin(ONE), options)) == pytest.approx(value, abs=1e-6)


def test_the_published_gradient_of_dpo() -> None:
    chosen = numbers(-10).requires_grad_()
    kind = PAIR_LOSSES["sigmoid"]
    kind.loss(kind.margin(ONE._replace(chosen=chosen)), LossOptions(0.1)).sum().backward()
    assert float(chosen.grad) == pytest.approx(-0.046257, abs=1e-6)  # type: ignore[arg-type]


def test_the_published_value_of_orpo() -> None:
    """Mean log-probabilities -2 and -3, lambda 0.1 (2403.07691, Eqs. 4, 6, 7)."""
    pairs = PairLogprobs(*(numbers(value) for value in (-10, -12, 0, 0, 5, 4)))
    odds = log_odds_ratio(pairs)
    assert float(odds) == pytest.approx(1.094344, abs=1e-6)
    assert float(PAIR_LOSSES["orpo"].loss(odds, LossOptions(1.0))) == pytest.approx(0.288751, abs=1e-6)
    total = float(PAIR_LOSSES["orpo"].loss(odds, LossOptions(0.1))) + 2
    assert total == pytest.approx(2.028875, abs=1e-6)


def test_pain_27_odds_stay_finite_where_a_probability_nears_one() -> None:
    """TRL #3237: NaN as log p -> 0; and no constant that biases."""
    x = numbers(-1e-8, -1e-300, 0.0, -0.7, -0.69, -50.0).requires_grad_()
    values = log1mexp(x)
    assert values[0].item() == pytest.approx(math.log(1e-8), rel=1e-7)
    assert values[5].item() == pytest.approx(-math.exp(-50), rel=1e-7)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(x.grad[[0, 3, 4, 5]]).all()  # type: ignore[index]
    assert torch.isfinite(log1mexp(torch.tensor([-1e-8, 0.0], dtype=torch.float32))).all()


def test_the_published_values_of_kto_and_bradley_terry() -> None:
    """KTO (2402.01306, Eq. 7), Bradley-Terry (2203.02155, Eq. 1) with the margin of Llama 2."""
    ratios, z0, labels = numbers(1.0, -0.5), numbers(0.3, 0.3), numbers(1, -1)
    assert kto(ratios, z0, labels, 0.1).tolist() == pytest.approx([0.482507, 0.480011], abs=1e-6)
    assert float(bradley_terry(numbers(1.2), numbers(0.4), 0.0)) == pytest.approx(0.371101, abs=1e-6)
    assert float(bradley_terry(numbers(1.2), numbers(0.4), 0.5)) == pytest.approx(0.554355, abs=1e-6)


class Scorer(torch.nn.Module):
    """A model whose outputs are given."""

    def __init__(self, logprobs_P: torch.Tensor, head_N: torch.Tensor | None = None) -> None:
        super().__init__()
        self.logprobs_P, self.head_N = logprobs_P, head_N

    def forward(self, batch: Any) -> torch.Tensor:
        return self.logprobs_P

    def outputs(self, batch: Any) -> Any:
        return SimpleNamespace(logprobs=self.logprobs_P, heads={"reward": self.head_N})


def test_the_published_value_of_centring() -> None:
    components, _ = reward_loss(0.0, 0.01).function(*scored([pair(0, 3, 4)], 1.2, 0.4))
    assert float(components["loss"]) == pytest.approx(0.371101, abs=1e-6)
    assert float(components["centring"]) == pytest.approx(0.0256, abs=1e-9)


def scored(groups: list[ExampleGroup], *values: float) -> tuple[Scorer, Any]:
    """A model that gives these scores to the answers, and their batch."""
    batch = collate(groups, PAIRS)
    head_N = torch.zeros(sum(batch.lengths), dtype=torch.float64)
    head_N[torch.tensor(batch.lengths).cumsum(0) - 1] = numbers(*values)
    return Scorer(torch.zeros(int((batch.weights_N != 0).sum()), dtype=torch.float64), head_N), batch


@pytest.mark.parametrize(("kind", "value"), [("pairs", 0.207038), ("plackett_luce", 1.161057)])
def test_the_published_values_of_rankings(kind: Any, value: float) -> None:
    """Scores 2, 1, 0, -1 in the order of their ranks: K-wise (2203.02155, Eq. 1) and Plackett-Luce."""
    components, figures = reward_loss(0.0, 0.0, kind=kind).items(*scored([ranking(1, 4, 3, 2, 1)], 2, 1, 0, -1))
    assert float(components["loss"]) == pytest.approx(value, abs=1e-6)
    assert {name: values.tolist() for name, values in figures.items() if name in ("accuracy", "margin")} == {
        "accuracy": [1.0],
        "margin": pytest.approx([10 / 6]),
    }


def test_answers_that_tie_make_no_pair_and_a_prompt_of_ties_counts_for_nothing() -> None:
    model, batch = scored([ranking(1, 4, 4, 1), ranking(2, 3, 3), text(50, 4)], 2, 0, 1, 5, 7, 9)
    loss = reward_loss(0.0, 0.0)
    components, figures = loss.items(model, batch)
    both = (math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2
    assert float(components["loss"]) == pytest.approx(both)
    assert figures["accuracy"].tolist() == [0.5]
    assert loss.denominators["loss"](batch) == 1
    # Of three answers the two best tie: only they have one below them, and the whole set is the rest of either.
    everything = math.log(math.exp(2) + math.exp(0) + math.exp(1))
    value = float(reward_loss(0.0, 0.0, kind="plackett_luce").items(model, batch)[0]["loss"])
    assert value == pytest.approx(2 * everything - 2 - 0)


def test_a_pair_is_a_ranking_of_two() -> None:
    as_pair, as_ranking = (
        [(example(n, 5, 2, {SIDE: side, MARGIN: 0.0}),) for n, side in enumerate(sides)] for sides in ((1, -1), (2, 1))
    )
    for kind in ("pairs", "plackett_luce"):
        values = [
            float(reward_loss(0.0, 0.0, kind=kind).items(*scored([(*a, *b)], 1.2, 0.4))[0]["loss"])
            for a, b in (as_pair, as_ranking)
        ]
        assert values == pytest.approx([0.371101, 0.371101], abs=1e-6)


def example(seed: int, length: int, prompt: int, scalars: dict[str, float]) -> Example:
    random = np.random.default_rng(seed)
    weights = np.zeros(length, np.float32)
    weights[prompt:] = 1
    reference = random.normal(-3, 0.3, length).astype(np.float32)
    return Example(random.integers(0, VOCAB, length).astype(np.int32), weights, None, {REFERENCE: reference}, scalars)


def pair(seed: int, chosen: int, rejected: int, prompt: int = 2) -> ExampleGroup:
    sides = (chosen, 1.0), (rejected, -1.0)
    margin = 0.2 * (seed + 1)
    return tuple(example(2 * seed + (s < 0), length, prompt, {SIDE: s, MARGIN: margin}) for length, s in sides)


def ranking(seed: int, *orders: float) -> ExampleGroup:
    """A prompt with answers of these orders: more is better."""
    return tuple(
        example(100 * seed + place, 4 + place, 2, {SIDE: order, MARGIN: 0.0}) for place, order in enumerate(orders)
    )


def text(seed: int, length: int) -> ExampleGroup:
    """Replayed text, which carries nothing of pairs."""
    random = np.random.default_rng(seed)
    return (Example(random.integers(0, VOCAB, length).astype(np.int32), np.ones(length, np.float32)),)


def pairs_and_text() -> list[ExampleGroup]:
    lengths = [(30, 9), (5, 40), (12, 12), (3, 8), (25, 4)]
    return [*(pair(n, *both) for n, both in enumerate(lengths)), text(50, 33), text(51, 7)]


def rankings_and_text() -> list[ExampleGroup]:
    """Rankings with ties, a pair, and text."""
    return [ranking(1, 4, 3, 2, 1), ranking(2, 2, 4, 4, 1, 1), ranking(3, 3, 3), pair(4, 9, 7), text(50, 33)]


def labelled_and_text() -> list[ExampleGroup]:
    labels = [(20, 1.0), (7, -1.0), (33, 1.0), (4, -1.0), (11, -1.0)]
    answers = [(example(n, length, 2, {LABEL: label, Z0: 0.3}),) for n, (length, label) in enumerate(labels)]
    return [*answers, text(50, 33)]


def model(head: bool = False) -> Transformer:
    made = initialise(Transformer(resolve(ModelSettings(depth=2, width=32, heads=2, context=64), VOCAB)), seed=0)
    if head:
        made.set_head("reward", torch.randn((1, 32), generator=torch.Generator().manual_seed(1)))
    return made.double()


Gradients = dict[str, torch.Tensor]


def gradients(loss: Loss, parts: list[list[Any]]) -> tuple[dict[str, float], Gradients]:
    """The metrics and gradients of a step, of the micro-batches of each process."""
    made = model(head=True)
    denominators = count([batch for part in parts for batch in part], loss)[2]
    pairs: dict[str, float] = {}
    for batch in (batch for part in parts for batch in part):
        components, metrics = loss.function(made, batch)
        mean(components, denominators).backward()
        for name, (total, number) in metrics.pairs.items():
            pairs[name] = pairs.get(name, 0.0) + total
            pairs[f"count.{name}"] = pairs.get(f"count.{name}", 0.0) + number
    return pairs, {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}


LOSSES: dict[str, tuple[Loss, list[ExampleGroup], Schema]] = {
    **{name: (pair_loss(name, LossOptions(0.5), 0.2, 0.7), pairs_and_text(), PAIRS) for name in PAIR_LOSSES},
    "robust": (pair_loss("robust", LossOptions(0.5, 0.2)), pairs_and_text(), PAIRS),
    "reward": (reward_loss(0.3, 0.01, 0.7), pairs_and_text(), PAIRS),
    "k-wise": (reward_loss(0.3, 0.01, 0.7), rankings_and_text(), PAIRS),
    "row margins": (reward_loss("rows", 0.0), pairs_and_text(), PAIRS),
    "plackett_luce": (reward_loss(0.0, 0.01, 0.7, "plackett_luce"), rankings_and_text(), PAIRS),
    "kto": (kto_loss(0.5, 1.0, 1.5, 0.7), labelled_and_text(), LABELS),
}


@pytest.mark.parametrize("name", LOSSES)
def test_pains_25_and_47_however_a_step_is_cut_its_gradient_is_the_same(name: str) -> None:
    """Packed equals one by one; eight micro-batches equal one; two processes, one of which idles, equal one."""
    loss, groups, schema = LOSSES[name]
    figures, whole = gradients(loss, [micro_batches(groups, 10_000, schema=schema)])
    alone = [[collate([group], schema)] for group in groups]
    two = [micro_batches(groups, 60, rank, 2, schema) for rank in range(2)]
    idle = [micro_batches(groups[:1], 60, rank, 2, schema) for rank in range(2)]
    assert any(batch.padding for part in idle for batch in part)
    for parts in (alone, two):
        cut_figures, cut = gradients(loss, parts)
        assert cut_figures == pytest.approx(figures, rel=1e-9, abs=1e-9)
        for parameter, gradient in whole.items():
            torch.testing.assert_close(cut[parameter], gradient, rtol=1e-8, atol=1e-11)
    one, padded = gradients(loss, [micro_batches(groups[:1], 10_000, schema=schema)]), gradients(loss, idle)
    assert padded[0] == pytest.approx(one[0])
    for parameter, gradient in one[1].items():
        torch.testing.assert_close(padded[1][parameter], gradient, rtol=1e-8, atol=1e-11)


# Of each kind of stage what it starts from, and another value for every option of its loss.
START: dict[type[PreferenceStage], dict[str, Any]] = {Dpo: {"beta": 0.5}, RewardModel: {}, Kto: {"beta": 0.5}}
OTHERS: dict[type[PreferenceStage], dict[str, list[dict[str, Any]]]] = {
    Dpo: {
        "loss_type": [{"loss_type": name} for name in PAIR_LOSSES if name not in ("sigmoid", "robust")]
        + [{"loss_type": "robust", "label_smoothing": 0.2}],
        "beta": [{"beta": 0.4}, {"beta": None}],
        "label_smoothing": [{"label_smoothing": 0.1}],
        "gamma": [{"loss_type": "simpo", "gamma": gamma} for gamma in (0.1, 1.0)],
        "nll": [{"nll": 0.1}, {"loss_type": "orpo", "nll": 0.0}],
        "replay_weight": [{"replay_weight": 0.5}],
    },
    RewardModel: {
        "loss_type": [{"loss_type": "plackett_luce"}],
        "margin": [{"margin": 0.5}, {"margin": "rows"}],
        "centring": [{"centring": 0.1}],
        "replay_weight": [{"replay_weight": 0.5}],
    },
    Kto: {
        "beta": [{"beta": 0.2}],
        "desirable_weight": [{"desirable_weight": 2.0}],
        "undesirable_weight": [{"undesirable_weight": 2.0}],
        "replay_weight": [{"replay_weight": 0.5}],
    },
}
NOT_OF_THE_LOSS = {"max_refused", "keep"}  # which rows, and which weights


@pytest.mark.parametrize("kind", OTHERS)
def test_pain_21_every_option_changes_the_gradient(kind: type[PreferenceStage]) -> None:
    """Options without effect are the field's commonest; one that is added without a line above fails here."""
    own = set(kind.__struct_fields__) - set(FineTune.__struct_fields__)
    assert OTHERS[kind].keys() == own - NOT_OF_THE_LOSS
    groups, schema = (labelled_and_text(), LABELS) if kind is Kto else (pairs_and_text(), PAIRS)
    if kind is RewardModel:
        groups = [*groups, *rankings_and_text()[:2]]
    batches = [micro_batches(groups, 10_000, schema=schema)]

    def gradient_of(options: dict[str, Any]) -> Gradients:
        stage = kind(parent="chat", data={"pairs": 1.0}, steps=1, replay=0.5, **{**START[kind], **options})
        return gradients(stage.loss(), batches)[1]

    every = [START[kind], *(options for others in OTHERS[kind].values() for options in others)]
    found = [gradient_of(options) for options in every]
    for (number, one), (other_number, other) in combinations(enumerate(found), 2):
        assert changed(one, other), (every[number], every[other_number])


def changed(one: Gradients, other: Gradients) -> bool:
    return any(not torch.allclose(one[name], other[name], rtol=1e-4, atol=0) for name in one)


def test_losses_and_log_probabilities_equal_trls(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same tensors to 1e-5: TRL's log-softmax, SimPO and odds ratio; DPO, robust and IPO by its formulas."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    pytest.importorskip("trl")
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer
    from trl.trainer.utils import selective_log_softmax

    made, groups = model(), [pair(n, 12 + n, 9 + 2 * n) for n in range(4)]
    batch = collate(groups, PAIRS)
    ours = pair_logprobs(made(batch), batch)
    sums, tokens, reference = [], [], []
    for segment in (segment for group in groups for segment in group):
        alone = collate([(segment,)], PAIRS)
        attend = made.within_segments(alone.lengths)
        logits = made.logits(made.hidden(alone.tokens_N, alone.positions_N, attend))
        picked = selective_log_softmax(logits[None], alone.labels_N[None])[0]
        mask = alone.weights_N != 0
        sums.append(picked[mask].sum())
        tokens.append(float(mask.sum()))
        reference.append(float(alone.streams[REFERENCE][mask].sum()))
    chosen, rejected = torch.stack(sums[::2]), torch.stack(sums[1::2])
    torch.testing.assert_close(ours.chosen, chosen, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.rejected, rejected, rtol=0, atol=1e-5)
    theirs: dict[str, torch.Tensor] = {}
    cpo = SimpleNamespace(
        alpha=0.0,
        loss_type="simpo",
        simpo_gamma=0.5,
        beta=2.0,
        label_smoothing=0.0,
        accelerator=SimpleNamespace(device="cpu"),
    )
    means = chosen / torch.tensor(tokens[::2]), rejected / torch.tensor(tokens[1::2])
    theirs["simpo"] = CPOTrainer.cpo_loss(cpo, *means)[0]
    theirs["orpo"] = -ORPOTrainer.odds_ratio_loss(SimpleNamespace(beta=2.0, accelerator=cpo.accelerator), *means)[0]
    ratio_w, ratio_l = chosen - torch.tensor(reference[::2]), rejected - torch.tensor(reference[1::2])
    h, mean_h = ratio_w - ratio_l, ratio_w / torch.tensor(tokens[::2]) - ratio_l / torch.tensor(tokens[1::2])
    theirs["sigmoid"] = -F.logsigmoid(2.0 * h)
    theirs["robust"] = (-0.9 * F.logsigmoid(2.0 * h) + 0.1 * F.logsigmoid(-2.0 * h)) / 0.8
    theirs["ipo"], theirs["ipo_mean"] = (h - 0.25) ** 2, (mean_h - 0.25) ** 2
    theirs["sigmoid_norm"] = -F.logsigmoid(2.0 * mean_h)
    assert theirs.keys() == PAIR_LOSSES.keys()
    for name, kind in PAIR_LOSSES.items():
        options = LossOptions(2.0, 0.1 if name == "robust" else 0.0, 0.5)
        value = kind.loss(kind.margin(ours), options)
        torch.testing.assert_close(value, theirs[name].double(), rtol=1e-5, atol=1e-5, msg=name)


def test_pains_12_and_15_a_score_is_read_at_the_end_of_its_segment_whatever_token_is_there() -> None:
    """transformers #35352: a prompt that contains the end token hid the answer from the score."""
    made = model(head=True)
    (chosen, rejected) = pair(3, 9, 9)
    chosen.tokens[1] = rejected.tokens[1] = chosen.tokens[-1]
    batch = collate([(chosen, rejected)], PAIRS)
    loss = reward_loss(0.0, 0.0)
    assert loss.items is not None
    _, figures = loss.items(made, batch)
    hidden = made.hidden(batch.tokens_N, batch.positions_N, made.within_segments(batch.lengths))
    head_N = made.head_outputs(hidden)["reward"]
    assert figures["chosen_reward"].tolist() == pytest.approx([head_N[8].item()])
    assert figures["rejected_reward"].tolist() == pytest.approx([head_N[17].item()])


def test_pain_13_a_score_does_not_depend_on_its_neighbours() -> None:
    made, loss = model(head=True), reward_loss(0.0, 0.0)
    assert loss.items is not None
    groups = [pair(n, 5 + 3 * n, 20 - 2 * n) for n in range(8)]
    _, packed = loss.items(made, collate(groups, PAIRS))
    alone = [loss.items(made, collate([group], PAIRS))[1] for group in groups]
    _, turned = loss.items(made, collate(groups[::-1], PAIRS))
    for name in ("chosen_reward", "rejected_reward"):
        wanted = [figures[name].item() for figures in alone]
        assert packed[name].tolist() == pytest.approx(wanted, abs=1e-12)
        assert turned[name].tolist()[::-1] == pytest.approx(wanted, abs=1e-12)


def test_pain_8_numerator_and_divisor_use_one_mask() -> None:
    """TRL #6879: a completion whose first token begins the row is not predicted, and must not be counted."""
    batch = collate([pair(0, 3, 5, prompt=0)], PAIRS)
    pairs = pair_logprobs(numbers(*[-1.0] * 6), batch)
    assert (float(pairs.chosen), float(pairs.chosen_tokens)) == (-2.0, 2.0)
    assert (float(pairs.rejected), float(pairs.rejected_tokens)) == (-4.0, 4.0)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (pair_loss("sigmoid", LossOptions(0.1, 0.2)), math.log(2)),
        (pair_loss("robust", LossOptions(0.1, 0.2)), math.log(2)),
        (pair_loss("ipo", LossOptions(0.1)), 25.0),
        (reward_loss(0.0, 0.0), math.log(2)),
    ],
)
def test_a_loss_says_what_the_first_step_must_show(loss: Loss, value: float) -> None:
    assert loss.first_step == {"loss": pytest.approx(value), "margin": 0.0}


def test_losses_without_a_reference_promise_nothing_of_the_first_step() -> None:
    assert pair_loss("simpo", LossOptions(2.0)).first_step == {}
