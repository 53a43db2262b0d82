"""How good the votes are: agreement of people with each other, with themselves and with gold items; time per item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from tutelage.annotate.events import AnnotationItem, Submission
from tutelage.annotate.items import MOST_ANSWERS, gold_matches
from tutelage.annotate.state import Annotations
from tutelage.evaluate.agreement import alpha_of, coincidences
from tutelage.evaluate.statistics import mean_interval

RESAMPLES = 200
# Somebody who skims reads about 5 words a second; who answers in less than half of that time has not read.
FAST_WORDS_PER_SECOND = 12.0
Ranks = Sequence[int | None]
_RANKS = np.arange(1, MOST_ANSWERS + 1)


def verdicts(ranks: Ranks) -> dict[tuple[int, int], int]:
    """Of each two ranked answers: -1 where the first is better, 1 where the second is, 0 for a tie. `a=b>c>d` gives
    five strict verdicts and a tie."""
    found = {}
    for (i, first), (k, second) in combinations(enumerate(ranks), 2):
        if first is not None and second is not None:
            found[i, k] = (first > second) - (first < second)
    return found


def is_fast(item: AnnotationItem, vote: Submission) -> bool:
    """Whether a vote took less time than reading does."""
    words = sum(len(text.split()) for text in (*(turn.content for turn in item.prompt), *item.answers))
    return vote.outcome != "skipped" and vote.seconds < words / FAST_WORDS_PER_SECOND


def votes_of_items(state: Annotations) -> dict[str, list[Submission]]:
    """The votes on each item that say something of its answers, the first time that a person had it."""
    found: dict[str, list[Submission]] = {}
    for vote in state.votes():
        if not vote.repeat and state.items[vote.item].gold is None and len(verdicts(vote.ranks)):
            found.setdefault(vote.item, []).append(vote)
    return found


def quality_figures(state: Annotations, seed: int = 0) -> dict[str, Any]:
    """All figures of a log. Votes on answers that name a model are apart: they are not blind."""
    votes = [*state.votes()]
    by_item = votes_of_items(state)
    blind = {item: found for item, found in by_item.items() if not any(state.items[item].leaks)}
    leaky = {item: found for item, found in by_item.items() if item not in blind}
    sizes = sorted({len(state.items[item].answers) for item in blind})
    sources = sorted({source for item in blind if (source := state.items[item].source)})
    return {
        "task": state.settings.task,
        "items": len(state.items),
        "submissions": len(votes),
        "outcomes": dict(Counter(vote.outcome for vote in votes)),
        "flags": dict(Counter(flag for vote in votes for flag in vote.flags)),
        "revised": sum(vote.revision > 1 for vote in votes),
        "guidelines": dict(Counter(vote.guidelines for vote in votes)),
        "agreement": agreement(blind.values(), seed),
        # H6: people may agree more on pairs than on long rankings; so both are shown.
        "agreement_by_answers": {
            str(size): agreement([v for item, v in blind.items() if len(state.items[item].answers) == size], seed)
            for size in sizes
        },
        "agreement_by_source": {
            source: agreement([v for item, v in blind.items() if state.items[item].source == source], seed)
            for source in sources
        },
        "agreement_not_blind": agreement(leaky.values(), seed),
        "people": {person: person_figures(state, person, by_item) for person in sorted(state.assigned)},
    }


def agreement(items: Iterable[Sequence[Submission]], seed: int = 0) -> dict[str, Any] | None:
    """How far people agree on items that two or more ranked; None where there is no such item.

    alpha:  Krippendorff's, ordinal, of the ranks that each answer got, with its 95% interval over items.
    same:   the share of verdicts on two answers that two people share, ties being a verdict of their own.
    strict: the same without the verdicts that are a tie for one of both.
    """
    shared = [votes for votes in items if len(votes) > 1]
    if not shared:
        return None
    pairs_NKK = np.stack([_coincidences(votes) for votes in shared])
    weight_RN = np.random.default_rng(seed).multinomial(len(shared), np.full(len(shared), 1 / len(shared)), RESAMPLES)
    drawn = [_alpha(pairs_KK) for pairs_KK in np.tensordot(weight_RN, pairs_NKK, 1)]
    known = [value for value in drawn if value is not None]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) > RESAMPLES // 2 else (None, None)
    alpha = _alpha(pairs_NKK.sum(0))
    both = [same_verdicts(votes) for votes in shared]
    strict = [[one == other for one, other in pairs if one and other] for pairs in both]
    return {
        "items": len(shared),
        "alpha": None if alpha is None else {"value": alpha, "low": low, "high": high},
        "same": _share([[one == other for one, other in pairs] for pairs in both]),
        "strict": _share(strict),
    }


def _coincidences(votes: Sequence[Submission]) -> np.ndarray:
    """How often two people gave an answer of the item these two ranks, over its answers, [K, K]."""
    units = [np.array([rank for vote in votes if (rank := vote.ranks[n])]) for n in range(len(votes[0].ranks))]
    units = [unit for unit in units if len(unit) > 1]
    return coincidences(units, _RANKS) if units else np.zeros((len(_RANKS),) * 2)


def _alpha(pairs_KK: np.ndarray) -> float | None:
    try:
        return alpha_of(pairs_KK, _RANKS, "ordinal")
    except ValueError:
        return None  # all ranks are equal, or no answer has two


def same_verdicts(votes: Sequence[Submission]) -> list[tuple[int, int]]:
    """The verdicts of each two people on each two answers that both ranked."""
    found = []
    for one, other in combinations([verdicts(vote.ranks) for vote in votes], 2):
        found += [(one[pair], other[pair]) for pair in one.keys() & other.keys()]
    return found


def _share(items: Sequence[Sequence[bool]]) -> dict[str, Any] | None:
    """The mean over items of the share that is true, with its interval."""
    shares = [float(np.mean(item)) for item in items if len(item)]
    return mean_interval(np.array(shares)) if shares else None


def gold_accuracy(state: Annotations, person: str) -> tuple[int, int]:
    """Of the pairs that gold items order, how many a person orders likewise, and how many they judged."""
    right = total = 0
    for vote in state.votes():
        item = state.items[vote.item]
        if vote.person == person and item.gold is not None and vote.outcome != "skipped":
            found = gold_matches(item, vote.ranks)
            right, total = right + found[0], total + found[1]
    return right, total


def self_agreement(state: Annotations, person: str) -> tuple[int, int]:
    """Of the verdicts on items that a person had twice, how many are the same, and how many there are."""
    same = total = 0
    for vote in state.votes():
        first = state.current(vote.item, person)
        if vote.person == person and vote.repeat and first is not None:
            pairs = same_verdicts([first, vote])
            same, total = same + sum(one == other for one, other in pairs), total + len(pairs)
    return same, total


def person_figures(state: Annotations, person: str, by_item: Mapping[str, Sequence[Submission]]) -> dict[str, Any]:
    """The figures of one person."""
    own = [vote for vote in state.votes() if vote.person == person]
    seconds = [vote.seconds for vote in own]
    others = [
        one == other
        for votes in by_item.values()
        for pair in combinations(votes, 2)
        if person in (pair[0].person, pair[1].person)
        for one, other in same_verdicts(pair)
    ]
    return {
        "submissions": len(own),
        "skipped": sum(vote.outcome == "skipped" for vote in own),
        "seconds": float(np.median(seconds)) if seconds else None,
        "fast": sum(is_fast(state.items[vote.item], vote) for vote in own),
        "gold": _of(*gold_accuracy(state, person)),
        "self": _of(*self_agreement(state, person)),
        "others": _of(sum(others), len(others)),
    }


def _of(right: int, total: int) -> dict[str, Any] | None:
    return {"share": right / total, "count": total} if total else None


def quality_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines for the terminal."""
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in found["outcomes"].items())
    yield f"{found['items']:,} items, {found['submissions']:,} submissions ({outcomes or 'none'})"
    if found["flags"]:
        yield "flags: " + ", ".join(f"{count:,} {flag}" for flag, count in found["flags"].items())
    for label, figures in (
        ("agreement", found["agreement"]),
        *((f"  of {size} answers", figures) for size, figures in found["agreement_by_answers"].items()),
        *((f"  from {source}", figures) for source, figures in found["agreement_by_source"].items()),
        ("not blind, a name was masked", found["agreement_not_blind"]),
    ):
        if figures is not None:
            yield f"{label}: {_agreement_text(figures)}"
    for person, own in found["people"].items():
        yield f"{person}: {_person_text(own)}"


def _agreement_text(figures: Mapping[str, Any]) -> str:
    alpha = figures["alpha"]
    text = "alpha cannot be told"
    if alpha is not None:
        bounds = "" if alpha["low"] is None else f" ({alpha['low']:.3f} to {alpha['high']:.3f})"
        text = f"alpha {alpha['value']:.3f}{bounds}"
    parts = [text, f"two people agree on {figures['same']['mean']:.1%} of pairs"]
    if figures["strict"] is not None:
        parts.append(f"without ties on {figures['strict']['mean']:.1%}")
    return f"{', '.join(parts)}; {figures['items']:,} items"


def _person_text(own: Mapping[str, Any]) -> str:
    parts = [f"{own['submissions']:,} submissions"]
    if own["seconds"] is not None:
        parts.append(f"{own['seconds']:.0f} s each")
    if own["fast"]:
        parts.append(f"{own['fast']:,} faster than reading")
    for name, label in (("others", "as others"), ("self", "as before"), ("gold", "as gold")):
        if own[name] is not None:
            parts.append(f"{own[name]['share']:.0%} of {own[name]['count']:,} pairs {label}")
    return ", ".join(parts)
