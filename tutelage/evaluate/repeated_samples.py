"""Figures of several samples of each item: pass@k, pass^k, the majority, and the best of k by a reward model.

Shapes: P items, N samples of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tutelage.evaluate.item_results import ItemResult
from tutelage.evaluate.pass_at_k import pass_at_k, pass_hat_k
from tutelage.evaluate.statistics import Rate, mean_interval, rate
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, message
from tutelage.rl.hacking import best_of_n
from tutelage.rl.reward_model import reward_scores
from tutelage.scoring.extract import comparable

LENGTHS = 4  # parts of a curve over lengths


def share_rate(shares: Sequence[float]) -> Rate:
    """The mean of the items' shares of right samples. Of one sample each, Wilson's interval; of several the normal one
    over items, since the samples of one item hang together."""
    values = np.array(shares)
    if np.isin(values, (0.0, 1.0)).all():
        return rate(int(values.sum()), len(values))
    found = mean_interval(values)
    mean = found["mean"]
    return Rate(mean, max(found.get("low", 0.0), 0.0), min(found.get("high", 1.0), 1.0), len(values))


def k_figures(results: Sequence[ItemResult], metric: str, majority: bool) -> dict[str, Any]:
    """The mean over items of pass@k and pass^k for k = 1, 2, 4 ... and all samples, each with its 95% interval over
    items; and "maj@k", where the samples vote, with all of them."""
    steps, count = steps_of(results), len(results[0].samples)
    right = [sum(sample.passed[metric] for sample in result.samples) for result in results]
    figures: dict[str, Any] = {}
    for name, estimate in (("pass_at", pass_at_k), ("pass_all", pass_hat_k)):
        figures[name] = {str(k): mean_interval(np.array([estimate(count, c, k) for c in right])) for k in steps}
    if majority:
        figures["majority"] = {str(count): mean_interval(np.array([float(majority_right(r, metric)) for r in results]))}
    return figures


def steps_of(results: Sequence[ItemResult]) -> list[int]:
    """1, 2, 4 ... and the number of samples."""
    count = len(results[0].samples)
    return sorted({k for power in range(count.bit_length()) if (k := 2**power) <= count} | {count})


def best_of_figures(
    scorer: Checkpoint, prompts: Sequence[Conversation], results: Sequence[ItemResult], metric: str
) -> dict[str, Any]:
    """How often the answer that a reward model scores highest of k is right, for k = 1, 2, 4 ... and all samples,
    without bias from all of them (`rl.hacking.best_of_n`). An empty answer is never the best while there is another.

    Raises:
        ValueError: the scorer is no reward model, or an answer does not fit its context.
    """
    answers = [
        (place, replace(prompt, messages=(*prompt.messages, message("assistant", sample.text))))
        for place, (prompt, sample) in enumerate(
            (prompt, sample) for prompt, result in zip(prompts, results, strict=True) for sample in result.samples
        )
        if sample.text.strip()
    ]
    shape = len(results), len(results[0].samples)
    proxy_PN = np.full(shape, -np.inf)
    proxy_PN.flat[[place for place, _ in answers]] = reward_scores([scorer], [chat for _, chat in answers])
    lowest = proxy_PN[np.isfinite(proxy_PN)].min(initial=0.0)
    proxy_PN[~np.isfinite(proxy_PN)] = lowest - 1.0
    gold_PN = np.array([[float(sample.passed[metric]) for sample in result.samples] for result in results])
    return {str(k): mean_interval(best_of_n(proxy_PN, gold_PN, k)[1]) for k in steps_of(results)}


def right_by_length(results: Sequence[ItemResult], metric: str) -> list[dict[str, Any]]:
    """The share of right samples by their length: in up to four parts of equal size, from the shortest on, each with
    its range of tokens. Answers that think longer are of harder questions too, so that this is no effect of length."""
    pairs = sorted((sample.tokens, sample.passed[metric]) for result in results for sample in result.samples)
    parts = [part for part in np.array_split(np.array(pairs, float), min(LENGTHS, len(pairs))) if len(part)]
    return [
        {"tokens": [int(part[0, 0]), int(part[-1, 0])], "right": mean_interval(part[:, 1]), "samples": len(part)}
        for part in parts
    ]


def majority_right(result: ItemResult, metric: str) -> bool:
    """Whether the answer that most samples give is right; of answers that are equally frequent the one given first.
    Samples of which none could be read do not vote."""
    votes = Counter(comparable(sample.extracted) for sample in result.samples if sample.extracted)
    if not votes:
        return False
    winner = max(votes, key=lambda answer: votes[answer])  # the first of the most frequent, in the order of samples
    return any(sample.passed[metric] for sample in result.samples if comparable(sample.extracted) == winner)
