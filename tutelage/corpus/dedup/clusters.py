"""Turns clusters of duplicates into decisions (which copy is kept) and into details for the funnel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import EXAMPLE_CLUSTERS, EXAMPLE_MEMBERS, Columns, Corpus
from tutelage.corpus.repeats import group_equal, madvise_dontneed, scatter

DECISIONS = ("cluster", "copies", "known")  # of each document

# "first": keep the first copy, in input order. "none": drop every copy of a duplicated text.
Keep = Literal["first", "none"]


def label_equal(keys: Sequence[np.ndarray], memory: int) -> np.ndarray:
    """Per document, the index of the first document with the same key: int64[N]."""
    labels = np.arange(sum(map(len, keys)))
    for places, begins in group_equal(keys, memory):
        first = np.maximum.accumulate(np.where(begins, np.arange(len(places)), 0))
        labels[places] = places[first]
    return labels


def write_decisions(corpus: Corpus, labels: np.ndarray, like: str, known: int = 0) -> dict[str, Any]:
    """Write the decisions per document: "cluster", the index of the first document of its cluster (-1 if it is unique);
    "copies", the cluster size at the first document, else 0; "known", 1 + the index of a document of finished corpora
    that it equals, else 0. Such a document is in no cluster. Returns the details.

    known: how many of the labels, the first ones, are those of the finished corpora.

    Example: labels [0, 1, 0] -> cluster [0, -1, 0], copies [2, 0, 0].
    """
    own = labels[known:]
    hit = own < known
    scatter(np.where(hit, own + 1, 0), corpus.decisions("known", like, np.int64))
    labels = np.where(hit, np.arange(len(own)), own - known)
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
        **({"documents_known": int(hit.sum())} if known else {}),
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
    """Drop the copies, and copies of documents of finished corpora. The kept document of a cluster gets its size as the
    metadata field `copies`."""
    old = decisions["known"]
    details = [f"document {number} of the other corpora" for number in old[old > 0].tolist()]
    batch.drop(old > 0, f"{reason} of a known corpus", details)
    cluster, copies = decisions["cluster"][old == 0], decisions["copies"][old == 0]
    gone = (cluster >= 0) & ((copies == 0) | (keep == "none"))
    represents = ((copies > 0) & ~gone)[~gone]
    counts = copies[~gone].tolist()
    batch.drop(gone, reason, [f"cluster {number}" for number in cluster[gone].tolist()])
    if represents.any():
        batch.add_metadata({"copies": [n if first else None for n, first in zip(counts, represents, strict=True)]})
