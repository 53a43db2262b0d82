"""Parts of documents (lines, passages, n-grams) that occur more than once in the corpus: what deduplication of units
shares. A step is its settings, its keys and what it does with the repeated units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import EXAMPLE_CLUSTERS, EXAMPLE_MEMBERS, Corpus, GlobalStep
from tutelage.corpus.dedup.clusters import Keep
from tutelage.corpus.repeats import bloom_seen, group_equal
from tutelage.ledger import EXAMPLES_PER_REASON

_SHOWN = 200  # characters of a sample


def dedup_units(
    units: str,
    keys: Callable[[DocumentBatch], np.ndarray],
    counts: Callable[[DocumentBatch], np.ndarray],
    apply: Callable[[DocumentBatch, np.ndarray], None],
    keep: Keep,
    bloom: float | None = None,
) -> GlobalStep:
    """A global step that finds repeated units.

    units:  their name in the details.
    keys:   uint64, one per unit of a batch; 0: is not compared.
    counts: int64[N], units per document.
    apply:  gets, for each unit of a batch, whether it is repeated: a bool array.
    bloom:  the fraction of false positives of a Bloom filter; None: exact.
    """

    def decide(corpus: Corpus) -> dict[str, Any]:
        all_keys, repeated = corpus.columns["key"], corpus.decisions("repeated", "key", np.bool_)
        if bloom is None:
            return _mark_repeated(corpus, repeated, keep, units)
        for shard, seen in zip(repeated, bloom_seen(all_keys, bloom, corpus.memory), strict=True):
            shard[:] = seen
        return {units: sum(map(len, all_keys)), f"{units}_cut": sum(int(shard.sum()) for shard in repeated)}

    return GlobalStep(
        lambda batch: {"key": keys(batch), "count": counts(batch)},
        decide,
        lambda batch: {"repeated": int(counts(batch).sum())},
        lambda batch, decisions: apply(batch, decisions["repeated"]),
    )


def mark(shards: Sequence[np.ndarray], places: np.ndarray) -> None:
    """Set these places of bool arrays that are indexed consecutively."""
    places, start = np.sort(places), 0
    for shard in shards:
        first, last = np.searchsorted(places, (start, start + len(shard)))
        shard[places[first:last] - start] = True
        start += len(shard)


def group_sizes(places: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """The size of each group of a part of `group_equal`."""
    return np.diff(np.flatnonzero(begins), append=len(places))


def _mark_repeated(corpus: Corpus, marked: list[np.ndarray], keep: Keep, units: str) -> dict[str, Any]:
    """Mark the units whose key occurs more than once. Returns the details."""
    repeated = distinct = 0
    largest: list[tuple[int, list[int]]] = []
    for places, begins in group_equal(corpus.columns["key"], corpus.memory):
        mark(marked, places if keep == "none" else places[~begins])
        starts, sizes = np.flatnonzero(begins), group_sizes(places, begins)
        repeated += len(places)
        distinct += len(starts)
        for group in np.argsort(-sizes, kind="stable")[:EXAMPLE_CLUSTERS].tolist():
            members = places[starts[group] : starts[group] + min(int(sizes[group]), EXAMPLE_MEMBERS)]
            largest.append((int(sizes[group]), members.tolist()))
    largest = sorted(largest, key=lambda pair: (-pair[0], pair[1]))[:EXAMPLE_CLUSTERS]
    ends = np.cumsum(np.concatenate([np.asarray(shard) for shard in corpus.columns["count"]]))
    return {
        units: sum(map(len, corpus.columns["key"])),
        f"{units}_repeated": repeated,
        "cluster_count": distinct,
        f"{units}_cut": sum(int(shard.sum()) for shard in marked),
        "clusters": [
            {"size": size, "documents": np.searchsorted(ends, members, side="right").tolist()}
            for size, members in largest
        ],
    }


def cut_units(
    batch: DocumentBatch,
    repeated: np.ndarray,
    counts: np.ndarray,
    name: str,
    without: Callable[[str, np.ndarray], str],
    units_of: Callable[[str], Sequence[str]] | None = None,
) -> None:
    """Cut repeated units out of documents, and drop documents of which nothing is left.

    name:    of the units, in the funnel.
    without: function from a text and the flags of its units to the text without the flagged ones.
    units_of: the units of a text, for samples of what was cut.
    """
    texts: list[str | None] = []
    examples: list[str] = []
    for document, flags in zip(batch.documents, np.split(repeated, np.cumsum(counts)[:-1]), strict=False):
        texts.append(without(document.text, flags) if flags.any() else None)
        if units_of is not None and flags.any() and len(examples) < EXAMPLES_PER_REASON:
            examples.append(units_of(document.text)[int(flags.argmax())].strip()[:_SHOWN])
    empty = [place for place, text in enumerate(texts) if text is not None and not text.strip()]
    for place in empty:
        texts[place] = None
    batch.rewrite(texts, f"repeated {name} cut", examples)
    batch.drop(empty, f"nothing but repeated {name}")
