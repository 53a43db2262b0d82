"""Which texts hold what a model is to be examined with: runs of n tokens (n-grams) that both have.

GPT-3 (arXiv 2005.14165, appendix C) looked for a common run of 13 words; one such run may be a quotation or a phrase
that a whole set repeats. Here what counts is how much of an examined text is found: the share of its runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.corpus.minhash import Hashes, shingles, token_hashes

WIDTH = 13  # tokens
SHORTEST = 8  # tokens; "what is the capital of it?" stands in too many texts to say anything
COMMON = 10  # examined texts; a run that more of them have is the form of the questions, and not one of them


@dataclass(frozen=True, eq=False)
class Examined:
    """What to look for: runs of tokens of K examined texts, and the text that each is of.

    grams:  uint64[G], hashes of runs, sorted; a run of several texts stands there for each.
    owners: int64[G], the text that each is of.
    sizes:  int64[K], how many different runs each text has, without those that many texts have.
    """

    grams: np.ndarray
    owners: np.ndarray
    sizes: np.ndarray


def examined(batches: Iterable[Sequence[str]], width: int = WIDTH) -> Examined:
    """The runs of texts to look for, which come in batches and are numbered in order. A text of fewer tokens than a run
    is found only as a whole text, and one of fewer than SHORTEST never."""
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
    """Of each of N texts, given by its tokens, the largest share of an examined text's runs that it has, float32[N],
    and the number of that examined text, int64[N]; 0 and -1 where it has none."""
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
    # One row for each text, examined text and run: a run that many examined texts have counts for each of them.
    offsets = np.arange(owned.sum()) - np.repeat(np.cumsum(owned) - owned, owned)
    places = np.repeat(first[found], owned) + offsets
    pairs = np.unique(np.stack([np.repeat(text, owned), places]), axis=1)
    texts, owners = pairs[0], wanted.owners[pairs[1]]
    both, counts = np.unique(np.stack([texts, owners]), axis=1, return_counts=True)
    shares = (counts / wanted.sizes[both[1]]).astype(np.float32)
    order = np.argsort(shares, kind="stable")  # the largest of each text is written last
    share[both[0][order]], which[both[0][order]] = shares[order], both[1][order]
    return share, which
