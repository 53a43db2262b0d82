"""How many labels are needed, and what a label tells: pairs against rankings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from tutelage.annotate.choose import FIRST_LOOK, LEVEL, LOOK_EVERY, battles_of, checkpoints_of, look_level
from tutelage.annotate.simulate import COMPARE_SECONDS, READ_WORDS
from tutelage.annotate.state import Annotations
from tutelage.evaluate.ratings import Battles

POWER = 0.8
_DRAWS = 20_000


@dataclass(frozen=True)
class LabelCost:
    """What a label costs: words of a prompt and of an answer, and the wage of an hour."""

    prompt_words: float = 20.0
    answer_words: float = 60.0
    wage: float = 20.0

    def seconds(self, answers: int) -> float:
        """The time that a ranking of so many answers takes, as in `ranking_seconds`."""
        words = self.prompt_words + answers * self.answer_words
        return words / READ_WORDS + COMPARE_SECONDS * math.log2(math.factorial(answers))


def bits_of_ranking(answers: int, spread: float, temperature: float, seed: int = 0) -> float:
    """How many bits of information a ranking gives about the utilities of K answers: the mutual information
    log2(K!) - E[H(order | utilities)].

    The utilities are normal with standard deviation `spread`; the order is drawn from Plackett-Luce with the logits
    utility / temperature. Before anything is known all K! orders are equally likely. Of two answers it is 1 minus the
    mean entropy of the label.
    """
    rng = np.random.default_rng(seed)
    logits_NK = rng.normal(0, spread / temperature, (_DRAWS, answers))
    order_NK = np.argsort(-(logits_NK + rng.gumbel(size=logits_NK.shape)), axis=1)
    sorted_NK = np.take_along_axis(logits_NK, order_NK, 1)
    entropy = 0.0
    for place in range(answers - 1):  # of the answer at each place among those that are left
        left_NK = sorted_NK[:, place:]
        total_N1 = np.logaddexp.reduce(left_NK, axis=1, keepdims=True)
        entropy += float((total_N1[:, 0] - (np.exp(left_NK - total_N1) * left_NK).sum(1)).mean())
    return math.log2(math.factorial(answers)) - entropy / math.log(2)


def prompts_needed(mean: float, variance: float, power: float = POWER, level: float = LEVEL) -> int:
    """How many prompts it takes until the interval of the share won excludes 1/2, with this probability:
    ((z(1 - level / 2) + z(power)) / (mean - 1/2))^2 * variance, where mean and variance are of a prompt's share.

    Raises:
        ValueError: the mean is 1/2: no number is enough.
    """
    if mean == 0.5:
        raise ValueError("both win equally often, so no number of prompts tells them apart")
    z = NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(power)
    return math.ceil((z / (mean - 0.5)) ** 2 * variance)


def prompts_until_decided(mean: float, variance: float, players: int = 2, power: float = POWER) -> int:
    """How many prompts to prepare for `annotate choose`, so that it is decided with this probability: as
    `prompts_needed`, at the level of each of its looks.

    Raises:
        ValueError: the mean is 1/2.
    """
    prompts = FIRST_LOOK
    while prompts_needed(mean, variance, power, look_level(prompts, players)) > prompts:
        prompts += LOOK_EVERY
    return prompts


def known_share(gap: float, spread: float, temperature: float, overlap: int = 1, seed: int = 0) -> tuple[float, float]:
    """The mean and the variance of the share that the better of two models wins of a prompt with `overlap` votes.

    The difference of the utilities is normal over prompts, with mean `gap` and standard deviation `spread`; a vote is
    for the better answer with probability sigmoid(difference / temperature).
    """
    rng = np.random.default_rng(seed)
    chance_N = 1 / (1 + np.exp(-rng.normal(gap, spread, _DRAWS) / temperature))
    within = float((chance_N * (1 - chance_N)).mean()) / overlap
    return float(chance_N.mean()), float(chance_N.var()) + within


def pilot_share(battles: Battles, first: int, second: int) -> tuple[float, float, int]:
    """The mean and the variance of the share of a prompt that one player won against another, over the prompts of a
    pilot, and their number."""
    shares: dict[int, list[float]] = {}
    for one, other, won, prompt in zip(battles.first_N, battles.second_N, battles.won_N, battles.prompt_N, strict=True):
        if {int(one), int(other)} == {first, second}:
            shares.setdefault(int(prompt), []).append(float(won if one == first else 1 - won))
    means = np.array([np.mean(own) for own in shares.values()])
    return float(means.mean()), float(means.var(ddof=1)) if len(means) > 1 else 0.25, len(means)


def pilot_figures(state: Annotations) -> list[dict[str, Any]]:
    """For each two checkpoints of a pilot the prompts needed to tell them apart; None where both won equally often.

    Raises:
        ValueError: there is no vote.
    """
    battles, names = battles_of(state), checkpoints_of(state)
    met = {(min(a, b), max(a, b)) for a, b in zip(battles.first_N.tolist(), battles.second_N.tolist(), strict=True)}
    found = []
    for first, second in sorted(met):
        mean, variance, prompts = pilot_share(battles, first, second)
        spread = max(variance, 1 / (4 * prompts))
        needed = None if mean == 0.5 else prompts_until_decided(mean, spread, len(names))
        found.append({"models": [names[first], names[second]], "won": mean, "prompts": prompts, "needed": needed})
    return found


def cost_table(answers: Sequence[int], spread: float, temperature: float, cost: LabelCost) -> list[dict[str, float]]:
    """What an item of K answers tells, how long it takes and what it costs, for each K."""
    rows = []
    for count in answers:
        bits, seconds = bits_of_ranking(count, spread, temperature), cost.seconds(count)
        rows.append(
            {
                "answers": count,
                "pairs": math.comb(count, 2),
                "bits": bits,
                "seconds": seconds,
                "bits_per_minute": bits / seconds * 60,
                "cost_per_bit": seconds / 3600 * cost.wage / bits,
            }
        )
    return rows


def pilot_lines(figures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The figures of a pilot as lines for the terminal."""
    for of in figures:
        needed = "cannot be told apart" if of["needed"] is None else f"{of['needed']:,} prompts to tell them apart"
        yield f"{of['models'][0]} won {of['won']:.0%} of {of['prompts']:,} against {of['models'][1]}: {needed}"
