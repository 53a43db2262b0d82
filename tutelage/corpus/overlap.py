"""Contamination by n-gram overlap: which texts contain benchmark text.

GPT-3 (arXiv 2005.14165, appendix C) searched for one shared 13-gram, which may be a quotation or a phrase that a whole
dataset repeats. Here the measure is coverage: the fraction of a benchmark text's n-grams that a text contains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.corpus.minhash import Hashes, shingles, token_hashes

WIDTH = 13  # tokens
SHORTEST = 8  # tokens; shorter texts ("what is the capital of it?") occur too often to be evidence
COMMON = 10  # stop-gram limit: an n-gram of more benchmark texts than this is boilerplate, and is ignored


@dataclass(frozen=True, eq=False)
class Examined:
    """The n-grams of K benchmark texts.

    grams:  uint64[G], sorted hashes; an n-gram of several texts occurs once for each.
    owners: int64[G], the text of each.
    sizes:  int64[K], the number of distinct n-grams of each text, without stop-grams.
    """

    grams: np.ndarray
    owners: np.ndarray
    sizes: np.ndarray


def examined(batches: Iterable[Sequence[str]], width: int = WIDTH) -> Examined:
    """Index the n-grams of benchmark texts, which come in batches and are numbered in order. A text shorter than
    `width` matches only as a whole text; one below SHORTEST tokens never matches."""
    grams, owners, count = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], 0
    for texts in batches:
        tokens = token_hashes(texts)
        runs = shingles(tokens, width)
        lengths = np.diff(tokens.bounds)
        owner = np.repeat(np.arange(len(texts)), np.diff(runs.bounds))
        long = lengths[owner] >= SHORTEST
        pairs = np.unique(np.stack([runs.values[long], owner[long].astype(np.uint64)]), axis=1)
        grams.append(pairs[0])
        owners.append(pairs[1].astype(np.int64) + count)
        count += len(texts)
    values, of = np.concatenate(grams), np.concatenate(owners)
    order = np.argsort(values, kind="stable")
    values, of = values[order], of[order]
    _, runs_of, shared = np.unique(values, return_inverse=True, return_counts=True)
    kept = shared[runs_of] <= COMMON
    return Examined(values[kept], of[kept], np.bincount(of[kept], minlength=count))


def coverage(tokens: Hashes, wanted: Examined, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    """Per text, given by its tokens, the largest coverage of a benchmark text, float32[N], and the index of that
    benchmark text, int64[N]; 0 and -1 if nothing is shared."""
    runs = shingles(tokens, width)
    count = len(runs.bounds) - 1
    share, which = np.zeros(count, np.float32), np.full(count, -1, np.int64)
    first = np.searchsorted(wanted.grams, runs.values)
    found = np.flatnonzero(first < len(wanted.grams))
    found = found[wanted.grams[first[found]] == runs.values[found]]
    if not len(found):
        return share, which
    text = np.searchsorted(runs.bounds, found, side="right") - 1
    owned = np.searchsorted(wanted.grams, runs.values[found], side="right") - first[found]
    # One row per text, benchmark text and n-gram: a shared n-gram counts for each benchmark text that has it.
    offsets = np.arange(owned.sum()) - np.repeat(np.cumsum(owned) - owned, owned)
    places = np.repeat(first[found], owned) + offsets
    pairs = np.unique(np.stack([np.repeat(text, owned), places]), axis=1)
    texts, owners = pairs[0], wanted.owners[pairs[1]]
    both, counts = np.unique(np.stack([texts, owners]), axis=1, return_counts=True)
    shares = (counts / wanted.sizes[both[1]]).astype(np.float32)
    order = np.argsort(shares, kind="stable")  # the largest of each text is written last
    share[both[0][order]], which[both[0][order]] = shares[order], both[1][order]
    return share, which
