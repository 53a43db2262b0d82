"""Near-duplicate documents by MinHash LSH: signatures are cut into buckets, and documents that share one are joined."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep, rows_of_documents
from tutelage.corpus.dedup.clusters import DECISIONS, Keep, drop_copies, write_decisions
from tutelage.corpus.dedup.known import finished_corpora, known_keys
from tutelage.corpus.repeats import group_equal
from tutelage.text.characters import FOLDED, MARKS, PLAIN
from tutelage.text.hashing import GOLDEN, hash_texts
from tutelage.text.minhash import bucket_keys
from tutelage.text.union_find import flatten, union
from tutelage.text.words import hash_words

_SIGNATURES = 1  # increase it whenever the keys of a document change
_FORMS = {"normalized": FOLDED, "words": PLAIN, "marks": MARKS}


class MinhashSettings(Settings, tag="dedup_minhash", tag_field="kind", frozen=True, kw_only=True):
    """Near duplicates, as FineWeb finds them (arXiv 2406.17557, section 3.4: 5-grams, 14 buckets of 8 hashes).

    Two documents whose sets of n-grams have Jaccard similarity s share a bucket with probability
    1 - (1 - s^rows)^buckets: at 14 x 8 .56 for s = .7, .77 for .75, .92 for .8, .988 for .85.

    compare: "normalized" as FineWeb: without case, accents and punctuation, every digit as 0, so that texts which
             differ in numbers alone are near duplicates. "words": digits as they are, for exercises and tables.
             "marks": digits as they are, and every punctuation mark a word, for code.
    width:   words per n-gram.
    buckets: number of buckets.
    rows:    hashes per bucket.
    within:  name of a `meta` entry ("dump"); only documents with the same value are compared.
    keep:    "first" keeps the first document of a cluster, "none" drops the whole cluster.
    against: folders of finished corpora. A document that is nearly the same as one of theirs is dropped; their
             signatures are computed once and cached.
    """

    compare: Literal["normalized", "words", "marks"] = "normalized"
    width: int = 5
    buckets: int = 14
    rows: int = 8
    within: str | None = None
    keep: Keep = "first"
    against: tuple[str, ...] | str = ()

    def __post_init__(self) -> None:
        if min(self.width, self.buckets, self.rows) < 1:
            raise SettingsError("width, buckets and rows must each be at least 1")


def dedup_minhash(settings: MinhashSettings) -> GlobalStep:
    """Drop near duplicates by MinHash LSH (FineWeb, arXiv 2406.17557, section 3.4; Broder 1997). Raises ValueError if
    `against` names no finished corpus."""
    names = [f"bucket{number:03d}" for number in range(settings.buckets)]
    against = finished_corpora(settings.against)

    def keys_of(batch: DocumentBatch) -> np.ndarray:
        words = hash_words(batch.texts, _FORMS[settings.compare])
        keys = bucket_keys(words, settings.width, settings.buckets, settings.rows)
        if settings.within is not None:
            own = hash_texts(document.meta.get(settings.within, "") for document in batch.documents)
            keys = np.where(keys != 0, (keys ^ own[:, None]) * GOLDEN | np.uint64(1), keys)
        return keys

    def collect(batch: DocumentBatch) -> Columns:
        keys = keys_of(batch)
        return {name: np.ascontiguousarray(keys[:, number]) for number, name in enumerate(names)}

    def decide(corpus: Corpus) -> dict[str, Any]:
        what = [_SIGNATURES, settings.compare, settings.width, settings.buckets, settings.rows, settings.within]
        known = known_keys(against, settings.buckets, what, keys_of)
        buckets = [[*(old[:, n] for old in known), *corpus.columns[name]] for n, name in enumerate(names)]
        labels = near_clusters(buckets, corpus.memory)
        return write_decisions(corpus, labels, names[0], sum(map(len, known)))

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        drop_copies(batch, decisions, settings.keep, "near duplicate")

    return GlobalStep(collect, decide, rows_of_documents(*DECISIONS), apply)


def near_clusters(buckets: list[Any], memory: int) -> np.ndarray:
    """Per document, the index of the first document of its cluster, int64[N]. `buckets` holds, per bucket, the keys of
    all shards."""
    labels = np.arange(sum(map(len, buckets[0])))
    for keys in buckets:
        for places, begins in group_equal(keys, memory):
            first = np.maximum.accumulate(np.where(begins, np.arange(len(places)), 0))
            union(labels, places[first][~begins], places[~begins])
    return flatten(labels)
