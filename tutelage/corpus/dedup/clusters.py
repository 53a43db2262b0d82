"""From clusters of documents to verdicts: which is kept, and what there is to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import EXAMPLE_CLUSTERS, EXAMPLE_MEMBERS, Columns, Corpus
from tutelage.corpus.repeats import groups, let_go

# "one": the first of a cluster stays, in the order of the input; "none": nothing stays that stands there twice.
Keep = Literal["one", "none"]


def label_equal(keys: Sequence[np.ndarray], memory: int) -> np.ndarray:
    """Of each document the number of the first that has its key: int64[N]."""
    labels = np.arange(sum(map(len, keys)))
    for places, begins in groups(keys, memory):
        first = np.maximum.accumulate(np.where(begins, np.arange(len(places)), 0))
        labels[places] = places[first]
    return labels


def write_verdicts(corpus: Corpus, labels: np.ndarray, like: str) -> dict[str, Any]:
    """Writes, for each document, "cluster", the number of its cluster's first document or -1 where it is alone, and
    "copies", the size of the cluster at its first document, else 0. Gives the figures."""
    sizes = np.bincount(labels, minlength=len(labels))
    start = 0
    verdicts = (corpus.verdicts(name, like, np.int64) for name in ("cluster", "copies"))
    for cluster, copies in zip(*verdicts, strict=True):
        here = slice(start, start + len(cluster))
        cluster[:] = np.where(sizes[labels[here]] > 1, labels[here], -1)
        copies[:] = np.where(sizes[here] > 1, sizes[here], 0)
        let_go(cluster)
        let_go(copies)
        start = here.stop
    first = np.flatnonzero(sizes > 1)
    largest = first[np.argsort(-sizes[first], kind="stable")[:EXAMPLE_CLUSTERS]]
    return {
        "documents": len(labels),
        "documents_in_clusters": int(sizes[first].sum()),
        "cluster_count": len(first),
        "cluster_sizes": _sizes(sizes[first]),
        "clusters": [
            {"size": int(sizes[one]), "documents": np.flatnonzero(labels == one)[:EXAMPLE_MEMBERS].tolist()}
            for one in largest.tolist()
        ],
    }


def _sizes(sizes: np.ndarray) -> dict[str, int]:
    """How many clusters there are of which size: 2, 3, 4, then by doublings."""
    edges = [2, 3, 4, *(1 << power for power in range(3, 40))]
    counts = np.histogram(sizes, edges)[0].tolist()
    spans = zip(edges[:-1], edges[1:], counts, strict=True)
    return {str(low) if high == low + 1 else f"{low}-{high - 1}": count for low, high, count in spans if count}


def drop_copies(batch: DocumentBatch, verdict: Columns, keep: Keep, reason: str) -> None:
    """Drops the copies; a document that is kept for all of its cluster is given the fact `copies`."""
    cluster, copies = verdict["cluster"], verdict["copies"]
    gone = (cluster >= 0) & ((copies == 0) | (keep == "none"))
    kept_for_all = ((copies > 0) & ~gone)[~gone]
    numbers = copies[~gone].tolist()
    batch.drop(gone, reason, [f"cluster {number}" for number in cluster[gone].tolist()])
    if kept_for_all.any():
        batch.describe({"copies": [n if stands else None for n, stands in zip(numbers, kept_for_all, strict=True)]})


def cut_repeated(corpus: Corpus, cut: Sequence[np.ndarray], keep: Keep, unit: str) -> dict[str, Any]:
    """Sets `cut` for the parts of documents whose "key" stands in the corpus more than once: bool arrays, one for each
    shard, as long as "key". The column "count" says how many parts each document has. Gives the figures."""
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
        for one in np.argsort(-sizes, kind="stable")[:EXAMPLE_CLUSTERS].tolist():
            members = places[starts[one] : starts[one] + min(int(sizes[one]), EXAMPLE_MEMBERS)]
            largest.append((int(sizes[one]), members.tolist()))
    largest = sorted(largest, key=lambda found: (-found[0], found[1]))[:EXAMPLE_CLUSTERS]
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
