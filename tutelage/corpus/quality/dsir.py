"""DSIR: importance weights of documents, by hashed n-gram models of a target and of the corpus.

Xie et al. 2023, arXiv 2302.03169: unigrams and bigrams are counted in 10,000 hash buckets, for the target and for the
corpus; the weight of a document is the sum of log(target / corpus) over its n-grams. A step of kind keep_top with
`gumbel = true` then samples documents by these weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep, rows_of_documents
from tutelage.corpus.quality.sources import read_texts
from tutelage.text.hashing import GOLDEN
from tutelage.text.words import Hashes, hash_words, range_sums

PLACES = 10_000
_SHIFT = np.uint64(33)
_LEAST = 1e-8  # added to a probability before the logarithm, as in the code of the paper


class DsirSettings(Settings, tag="dsir", tag_field="kind", frozen=True, kw_only=True):
    """Adds the metadata field `dsir_weight`, a log importance weight.

    positives: files of target texts, in any readable format.
    shortest:  documents of fewer words are dropped.
    """

    positives: tuple[str, ...]
    shortest: int = 100

    def __post_init__(self) -> None:
        if not self.positives:
            raise SettingsError("positives is empty; name files of target texts")


def ngram_places(tokens: Hashes) -> tuple[np.ndarray, np.ndarray]:
    """The hash buckets of the unigrams and bigrams of N texts, uint16[P], and the bounds of each text, int64[N + 1]."""
    words = tokens.values
    ends = np.zeros(len(words), bool)
    ends[tokens.bounds[1:][np.diff(tokens.bounds) > 0] - 1] = True
    # Each word is followed by the bigram that it begins; the last word of a text begins none.
    both = np.empty((len(words), 2), np.uint64)
    both[:, 0] = words
    both[:, 1] = words * GOLDEN
    both[:-1, 1] += words[1:]
    there = np.ones((len(words), 2), bool)
    there[:, 1] = ~ends
    places = (((both * GOLDEN) >> _SHIFT) % np.uint64(PLACES)).astype(np.uint16)[there]
    counts = np.diff(tokens.bounds)
    return places, np.concatenate([[0], np.cumsum(np.maximum(2 * counts - 1, 0))])


def log_ratios(target: np.ndarray, corpus: np.ndarray) -> np.ndarray:
    """log(target / corpus) of the probability of each bucket, from counts: float64[PLACES]."""
    shares = [counts / max(counts.sum(), 1) for counts in (target, corpus)]
    return np.log(shares[0] + _LEAST) - np.log(shares[1] + _LEAST)


def dsir(settings: DsirSettings) -> GlobalStep:
    """Compute DSIR weights (Xie et al. 2023, arXiv 2302.03169). A global step; collects four bytes per word. Raises
    ValueError if there is no target text."""
    target = hash_words(read_texts(settings.positives, "positives"))
    wanted = np.bincount(ngram_places(target)[0], minlength=PLACES)

    def collect(batch: DocumentBatch) -> Columns:
        tokens = hash_words(batch.texts)
        places, bounds = ngram_places(tokens)
        return {"place": places, "count": np.diff(bounds), "words": np.diff(tokens.bounds)}

    def decide(corpus: Corpus) -> dict[str, Any]:
        raw = np.zeros(PLACES, np.int64)
        for places in corpus.columns["place"]:
            raw += np.bincount(places, minlength=PLACES)
        ratios = log_ratios(wanted, raw)
        for shard, found in enumerate(corpus.decisions("weight", "count", np.float64)):
            bounds = np.concatenate([[0], np.cumsum(corpus.columns["count"][shard])]).astype(np.int64)
            found[:] = range_sums(ratios[corpus.columns["place"][shard]], bounds[:-1], bounds[1:])
            found[corpus.columns["words"][shard] < settings.shortest] = np.nan
        return {"target_ngrams": int(wanted.sum()), "corpus_ngrams": int(raw.sum())}

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        weights = np.array(decisions["weight"])
        batch.drop(np.isnan(weights), "too few words")
        batch.add_metadata({"dsir_weight": weights[~np.isnan(weights)].tolist()})

    return GlobalStep(collect, decide, rows_of_documents("weight"), apply)
