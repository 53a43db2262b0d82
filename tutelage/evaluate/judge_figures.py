"""What a judge's verdicts say of two models, and what they say of the judge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.evaluate.agreement import cohen_kappa
from tutelage.evaluate.judge_pairs import Judged
from tutelage.evaluate.statistics import mean_interval, rate
from tutelage.evaluate.win_rate import length_controlled

RESAMPLES = 500
_FAMILY = re.compile(r"[a-z]+")


def figures(judged: Sequence[Judged], seed: int = 0) -> dict[str, Any]:
    """The win rate of the first model, raw and at equal length, with 95% intervals over prompts; wins, ties and losses;
    and the judge's habits: verdicts that flip with the seat, wins of the first seat and of the longer answer, replies
    without a verdict. Only pairs with two verdicts count towards the win rates."""
    whole = [pair for pair in judged if pair.share is not None]
    share_N = np.array([pair.share for pair in whole], dtype=float)
    lengths = np.array([[len(pair.first.answer), len(pair.second.answer)] for pair in whole]).reshape(-1, 2)
    seats = [share for pair in judged for share in (pair.shares[0], _turned(pair.shares[1])) if share is not None]
    decided = [share for share in seats if share != 0.5]
    longer = [
        (share == 1) == (len(pair.first.answer) > len(pair.second.answer))
        for pair in judged
        for share in pair.shares
        if share in (0, 1) and len(pair.first.answer) != len(pair.second.answer)
    ]
    flips = [pair.shares[0] != pair.shares[1] for pair in whole]
    unparsed = sum(share is None for pair in judged for share in pair.shares)
    found: dict[str, Any] = {
        "pairs": len(judged),
        "counted": len(whole),
        "unparsed": rate(unparsed, 2 * len(judged)),
        "wins": int((share_N > 0.5).sum()),
        "ties": int((share_N == 0.5).sum()),
        "losses": int((share_N < 0.5).sum()),
    }
    if whole:
        found |= {"win_rate": mean_interval(share_N), "flips": rate(sum(flips), len(flips))}
        found["length_controlled"] = _controlled(share_N, lengths, seed)
        found["mean_length"] = lengths.mean(0).tolist()
    by_category: dict[str, list[float]] = {}
    for pair, share in zip(whole, share_N.tolist(), strict=True):
        by_category.setdefault(pair.first.category, []).append(share)
    if len(by_category) > 1:
        found["categories"] = {name: mean_interval(np.array(own)) for name, own in sorted(by_category.items())}
    if decided:
        found["first_seat"] = rate(sum(share == 1 for share in decided), len(decided))
    if longer:
        found["longer_wins"] = rate(sum(longer), len(longer))
    return found


def _turned(share: float | None) -> float | None:
    return None if share is None else 1 - share


def _controlled(share_N: np.ndarray, lengths_N2: np.ndarray, seed: int) -> dict[str, float] | None:
    """The length-controlled win rate with its interval from a bootstrap over prompts; None where it cannot be told."""
    value = length_controlled(share_N, *lengths_N2.T)
    if value is None:
        return None
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(share_N), len(share_N)) for _ in range(RESAMPLES)]
    values = [length_controlled(share_N[draw], *lengths_N2[draw].T) for draw in draws]
    low, high = np.quantile([one for one in values if one is not None], [0.025, 0.975])
    return {"mean": value, "low": float(low), "high": float(high)}


def same_family(judge: str, name: str) -> bool:
    """Whether two models seem to be of one family by the first word of their names: judges favour their own."""
    words = [_FAMILY.match(text.rpartition("/")[2].lower()) for text in (judge, name)]
    return words[0] is not None and words[1] is not None and words[0][0] == words[1][0]


def agreement_with_people(judged: Sequence[Judged], people: Mapping[str, float]) -> dict[str, Any]:
    """How often the judge and people (the share of the first model by key) prefer the same answer, where neither sees a
    tie: accuracy with its interval, and Cohen's kappa. `favours`: what the first model wins with the judge less what it
    wins with people, over the same prompts: where it is the judge's own family, the bias towards its family.

    Raises:
        ValueError: no pair has a preference of both.
    """
    pairs = [(pair.share, people[pair.key]) for pair in judged if pair.share is not None and pair.key in people]
    decided = [(one > 0.5, other > 0.5) for one, other in pairs if one != 0.5 and other != 0.5]
    if not decided:
        raise ValueError("there is no pair that both the judge and people decided")
    same = rate(sum(one == other for one, other in decided), len(decided))
    both = {side for pair in decided for side in pair}
    favours = mean_interval(np.array([one - other for one, other in pairs]))
    kappa = cohen_kappa(*zip(*decided, strict=True)) if len(both) > 1 else None
    return {"accuracy": same, "kappa": kappa, "favours": favours}
