"""Turns clusters of duplicates into decisions (which copy is kept) and into details for the funnel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import EXAMPLE_CLUSTERS, EXAMPLE_MEMBERS, Columns, Corpus
from tutelage.corpus.repeats import groups, madvise_dontneed

# "first": keep the first copy, in input order. "none": drop every copy of a duplicated text.
Keep = Literal["first", "none"]


def label_equal(keys: Sequence[np.ndarray], memory: int) -> np.ndarray:
    """Per document, the index of the first document with the same key: int64[N]."""
    labels = np.arange(sum(map(len, keys)))
    for places, begins in groups(keys, memory):
        first = np.maximum.accumulate(np.where(begins, np.arange(len(places)), 0))
        labels[places] = places[first]
    return labels


def write_decisions(corpus: Corpus, labels: np.ndarray, like: str) -> dict[str, Any]:
    """Write two decisions per document: "cluster", the index of the first document of its cluster (-1 if it is unique),
    and "copies", the cluster size at the first document, else 0. Returns the details.

    Example: labels [0, 1, 0] -> cluster [0, -1, 0], copies [2, 0, 0].
    """
    sizes = np.bincount(labels, minlength=len(labels))
    start = 0
    decisions = (corpus.decisions(name, like, np.int64) for name in ("cluster", "copies"))
    for cluster, copies in zip(*decisions, strict=True):
        here = slice(start, start + len(cluster))
        cluster[:] = np.where(sizes[labels[here]] > 1, labels[here], -1)
        copies[:] = np.where(sizes[here] > 1, sizes[here], 0)
        madvise_dontneed(cluster)
        madvise_dontneed(copies)
        start = here.stop
    first = np.flatnonzero(sizes > 1)
    largest = first[np.argsort(-sizes[first], kind="stable")[:EXAMPLE_CLUSTERS]]
    return {
        "documents": len(labels),
        "documents_in_clusters": int(sizes[first].sum()),
        "cluster_count": len(first),
        "cluster_sizes": _sizes(sizes[first]),
        "clusters": [
            {"size": int(sizes[label]), "documents": np.flatnonzero(labels == label)[:EXAMPLE_MEMBERS].tolist()}
            for label in largest.tolist()
        ],
    }


def _sizes(sizes: np.ndarray) -> dict[str, int]:
    """Histogram of cluster sizes: 2, 3, 4, then doubling bins."""
    edges = [2, 3, 4, *(1 << power for power in range(3, 40))]
    counts = np.histogram(sizes, edges)[0].tolist()
    spans = zip(edges[:-1], edges[1:], counts, strict=True)
    return {str(low) if high == low + 1 else f"{low}-{high - 1}": count for low, high, count in spans if count}


def drop_copies(batch: DocumentBatch, decisions: Columns, keep: Keep, reason: str) -> None:
    """Drop the copies. The kept document of a cluster gets its size as the metadata field `copies`."""
    cluster, copies = decisions["cluster"], decisions["copies"]
    gone = (cluster >= 0) & ((copies == 0) | (keep == "none"))
    represents = ((copies > 0) & ~gone)[~gone]
    counts = copies[~gone].tolist()
    batch.drop(gone, reason, [f"cluster {number}" for number in cluster[gone].tolist()])
    if represents.any():
        batch.add_metadata({"copies": [n if first else None for n, first in zip(counts, represents, strict=True)]})


def cut_repeated(corpus: Corpus, cut: Sequence[np.ndarray], keep: Keep, unit: str) -> dict[str, Any]:
    """Set `cut` for the parts of documents (lines, passages ...) whose "key" occurs more than once in the corpus. `cut`
    is one bool array per shard, as long as the column "key". The column "count" holds the number of parts per document.
    Returns the details."""
    keys = corpus.columns["key"]
    offsets = np.cumsum([0, *map(len, keys)])
    repeated = distinct = 0
    largest: list[tuple[int, list[int]]] = []
    for places, begins in groups(keys, corpus.memory):
        gone = places if keep == "none" else places[~begins]
        for number, shard in enumerate(cut):
            here = gone[(gone >= offsets[number]) & (gone < offsets[number + 1])]
            shard[here - offsets[number]] = True
        starts = np.flatnonzero(begins)
        sizes = np.diff(starts, append=len(places))
        repeated += len(places)
        distinct += len(starts)
        for group in np.argsort(-sizes, kind="stable")[:EXAMPLE_CLUSTERS].tolist():
            members = places[starts[group] : starts[group] + min(int(sizes[group]), EXAMPLE_MEMBERS)]
            largest.append((int(sizes[group]), members.tolist()))
    largest = sorted(largest, key=lambda pair: (-pair[0], pair[1]))[:EXAMPLE_CLUSTERS]
    ends = np.cumsum(np.concatenate([np.asarray(shard) for shard in corpus.columns["count"]]))
    return {
        unit: int(offsets[-1]),
        f"{unit}_repeated": repeated,
        "cluster_count": distinct,
        f"{unit}_cut": sum(int(shard.sum()) for shard in cut),
        "clusters": [
            {"size": size, "documents": np.searchsorted(ends, members, side="right").tolist()}
            for size, members in largest
        ],
    }
