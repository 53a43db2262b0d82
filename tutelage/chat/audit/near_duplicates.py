"""Duplicates and near duplicates within a file and across two, and how much the prompts of a file differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tutelage.chat.audit.scan_result import ScanResult
from tutelage.text.minhash import agreement, clusters, near_duplicates

# Both the users' text and the assistant's must be this similar: the same passage with another question is another row.
SIMILAR = 0.8
# Characters. Before a shorter answer one word of the question decides, so there the question must be the same but for
# case and white space.
SHORT_ANSWER = 40
# Prompts as similar as this form one cluster.
SIMILAR_PROMPTS = 0.6
# Characters from which on an equal prompt is the same question; a shorter one may be a greeting.
LONG_PROMPT = 24


def repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of values that occurred before, and for each of them the first place of its value."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    firsts = first[which]
    again = np.flatnonzero(firsts != np.arange(len(keys)))
    return again, firsts[again]


def similar_clusters(features: np.ndarray, users: np.ndarray, assistants: np.ndarray) -> np.ndarray:
    """For each conversation the first of its cluster of near duplicates, int64[N], from the features and the signatures
    of the users' and of the assistants' text."""

    def similar(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        short = np.minimum(features["assistant_chars"][left], features["assistant_chars"][right]) < SHORT_ANSWER
        same_prompt = features["prompt_hash"][left] == features["prompt_hash"][right]
        matches = np.where(short, same_prompt, agreement(users, left, right) >= SIMILAR)
        matches[matches] = agreement(assistants, left[matches], right[matches]) >= SIMILAR
        return matches

    return clusters(len(users), _band_keys(users, assistants), similar)


def _band_keys(users: np.ndarray, assistants: np.ndarray) -> Iterator[np.ndarray]:
    """32 bands, each of two values of the users' signature and two of the assistants'."""
    for start in range(0, users.shape[1], 2):
        both = np.concatenate([users[:, start : start + 2], assistants[:, start : start + 2]], axis=1)
        yield np.ascontiguousarray(both).view(np.uint64)[:, 0]


@dataclass(frozen=True, eq=False)
class Duplicates:
    """The conversations of a file that are repeated within it or are also in the held-out file. Each is a pair of
    arrays: numbers of conversations, and for each the number of the conversation it equals or resembles (of the
    held-out file for leaks)."""

    exact: tuple[np.ndarray, np.ndarray]
    near: tuple[np.ndarray, np.ndarray]
    exact_leaks: tuple[np.ndarray, np.ndarray]
    near_leaks: tuple[np.ndarray, np.ndarray]


def find_duplicates(scan: ScanResult, held_out: ScanResult | None) -> Duplicates:
    """Exact duplicates, near duplicates that are not exact, and the same across the two files."""
    count = len(scan.features)
    exact = repeated(scan.features["hash"])
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    features, users, assistants = scan.features, scan.user_signatures, scan.assistant_signatures
    if held_out is not None:  # first, so that a cluster across both files is named by a held-out row
        users = np.concatenate([held_out.user_signatures, users])
        assistants = np.concatenate([held_out.assistant_signatures, assistants])
        features = np.concatenate([held_out.features, features])
    labels = similar_clusters(features, users, assistants)
    exact_leaks = near_leaks = nothing
    if held_out is not None:
        held_out_count = len(held_out.features)
        labels = labels[held_out_count:]
        exact_leaks = _exact_leaks(scan, held_out)
        across = np.setdiff1d(np.flatnonzero(labels < held_out_count), exact_leaks[0])
        near_leaks = across, labels[across]
        _, first, which = np.unique(labels, return_index=True, return_inverse=True)
        labels = first[which]
    near = np.setdiff1d(np.flatnonzero(labels != np.arange(count)), exact[0])
    return Duplicates(exact, (near, labels[near]), exact_leaks, near_leaks)


def _exact_leaks(scan: ScanResult, held_out: ScanResult) -> tuple[np.ndarray, np.ndarray]:
    """The conversations that are wholly the same in both files, or whose long prompt is."""
    matches: dict[int, int] = {}
    for key, places, held_out_places in (
        (
            "prompt_hash",
            np.flatnonzero(scan.features["user_chars"] >= LONG_PROMPT),
            np.flatnonzero(held_out.features["user_chars"] >= LONG_PROMPT),
        ),
        ("hash", np.arange(len(scan.features)), np.arange(len(held_out.features))),
    ):
        held_out_keys = held_out.features[key][held_out_places]
        order = np.argsort(held_out_keys, kind="stable")
        sorted_keys = held_out_keys[order]
        keys = scan.features[key][places]
        at = np.searchsorted(sorted_keys, keys)
        inside = np.flatnonzero(at < len(sorted_keys))
        inside = inside[sorted_keys[at[inside]] == keys[inside]]
        matches.update(zip(places[inside].tolist(), held_out_places[order[at[inside]]].tolist(), strict=True))
    rows = np.array(sorted(matches), np.int64)
    return rows, np.array([matches[row] for row in rows.tolist()], np.int64)


@dataclass(frozen=True)
class Diversity:
    """How much the prompts differ: how many are distinct, how many clusters of similar prompts there are, how many
    equally frequent clusters would be as diverse (the exponential of the entropy), and the rows of the largest."""

    distinct: int
    clusters: int
    effective_clusters: float
    largest: np.ndarray


def prompt_diversity(scan: ScanResult) -> Diversity:
    """Clusters the prompts of a file by similarity."""
    labels = near_duplicates(scan.user_signatures, SIMILAR_PROMPTS)
    names, counts = np.unique(labels, return_counts=True)
    if not len(names):
        return Diversity(0, 0, 0.0, np.empty(0, np.int64))
    shares = counts / counts.sum()
    effective = math.exp(-float((shares * np.log(shares)).sum()))
    largest = np.flatnonzero(labels == names[counts.argmax()])
    return Diversity(len(np.unique(scan.features["prompt_hash"])), len(names), effective, largest)
