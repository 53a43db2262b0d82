"""Conversations that are the same, or nearly, within a file and across two."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tutelage.chat.audit.scan import Scanned
from tutelage.corpus.minhash import agreement, clusters, near_duplicates

# Both what is asked and what is said must be this similar: a common text with another question is another row.
NEAR = 0.8
# Characters. Before a shorter answer one word of the question decides, so there it must be the same but for case and
# white space.
SHORT_ANSWER = 40
# Prompts as similar as this are one kind of prompt.
SAME_KIND = 0.6
# Characters from which on a prompt is the same question, and not the same greeting.
LONG = 24


def repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of values that stood before, and for each of them the first place of its value."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    firsts = first[which]
    again = np.flatnonzero(firsts != np.arange(len(keys)))
    return again, firsts[again]


def alike_clusters(facts: np.ndarray, asked: np.ndarray, said: np.ndarray) -> np.ndarray:
    """The number of the first conversation of each one's cluster of near duplicates, int64[N], from their facts and the
    signatures of what is asked and what is said."""

    def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        short = np.minimum(facts["said"][left], facts["said"][right]) < SHORT_ANSWER
        same = facts["prompt"][left] == facts["prompt"][right]
        found = np.where(short, same, agreement(asked, left, right) >= NEAR)
        found[found] = agreement(said, left[found], right[found]) >= NEAR
        return found

    return clusters(len(asked), _pair_keys(asked, said), alike)


def _pair_keys(asked: np.ndarray, said: np.ndarray) -> Iterator[np.ndarray]:
    """Bands of two values of what is asked and two of what is said: 32 of them."""
    for start in range(0, asked.shape[1], 2):
        both = np.concatenate([asked[:, start : start + 2], said[:, start : start + 2]], axis=1)
        yield np.ascontiguousarray(both).view(np.uint64)[:, 0]


@dataclass(frozen=True, eq=False)
class Likeness:
    """What of a file repeats itself, and what of it stands in the held-out file: numbers of conversations, and for each
    of those the number of the conversation it is like (of the held-out file for leaks)."""

    exact: tuple[np.ndarray, np.ndarray]
    near: tuple[np.ndarray, np.ndarray]
    leaked: tuple[np.ndarray, np.ndarray]
    nearly_leaked: tuple[np.ndarray, np.ndarray]


def find_alike(mine: Scanned, held_out: Scanned | None) -> Likeness:
    """Exact duplicates, near duplicates that are not exact, and the same across the two files."""
    count = len(mine.facts)
    exact = repeated(mine.facts["exact"])
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    facts, asked, said = mine.facts, mine.asked, mine.said
    if held_out is not None:  # first, so that each cluster that reaches over is named by what is held out
        asked, said = np.concatenate([held_out.asked, asked]), np.concatenate([held_out.said, said])
        facts = np.concatenate([held_out.facts, facts])
    labels = alike_clusters(facts, asked, said)
    leaked = nearly = nothing
    if held_out is not None:
        others = len(held_out.facts)
        own = labels[others:]
        leaked = _same(mine, held_out)
        reaching = np.setdiff1d(np.flatnonzero(own < others), leaked[0])
        nearly = reaching, own[reaching]
        _, first, which = np.unique(own, return_index=True, return_inverse=True)
        labels = first[which]
    near = np.setdiff1d(np.flatnonzero(labels != np.arange(count)), exact[0])
    return Likeness(exact, (near, labels[near]), leaked, nearly)


def _same(mine: Scanned, held_out: Scanned) -> tuple[np.ndarray, np.ndarray]:
    """The conversations that are wholly the same in both, or ask the same at some length."""
    found: dict[int, int] = {}
    for key, places, others in (
        ("prompt", np.flatnonzero(mine.facts["asked"] >= LONG), np.flatnonzero(held_out.facts["asked"] >= LONG)),
        ("exact", np.arange(len(mine.facts)), np.arange(len(held_out.facts))),
    ):
        there = held_out.facts[key][others]
        order = np.argsort(there, kind="stable")
        ordered = there[order]
        here = mine.facts[key][places]
        at = np.searchsorted(ordered, here)
        inside = np.flatnonzero(at < len(ordered))
        inside = inside[ordered[at[inside]] == here[inside]]
        found.update(zip(places[inside].tolist(), others[order[at[inside]]].tolist(), strict=True))
    rows = np.array(sorted(found), np.int64)
    return rows, np.array([found[row] for row in rows.tolist()], np.int64)


@dataclass(frozen=True)
class Diversity:
    """How different the prompts are: how many conversations ask something new, how many kinds of prompts there are, how
    many there would be were all kinds as frequent (the exponential of their entropy), and the rows of the largest."""

    distinct: int
    kinds: int
    effective: float
    largest: np.ndarray


def diversity(mine: Scanned) -> Diversity:
    """Prompts in kinds of near-equal ones."""
    labels = near_duplicates(mine.asked, SAME_KIND)
    names, counts = np.unique(labels, return_counts=True)
    if not len(names):
        return Diversity(0, 0, 0.0, np.empty(0, np.int64))
    shares = counts / counts.sum()
    effective = math.exp(-float((shares * np.log(shares)).sum()))
    largest = np.flatnonzero(labels == names[counts.argmax()])
    return Diversity(len(np.unique(mine.facts["prompt"])), len(names), effective, largest)
