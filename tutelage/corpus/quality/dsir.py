"""How much each document looks like texts one wants, rather than like the corpus: importance weights.

DSIR (Xie et al. 2023, arXiv 2302.03169): words and pairs of words are counted in 10,000 hashed places, for the target
and for the corpus; a document weighs the sum over its n-grams of how much more likely the target has them. A step of
kind keep_top with `gumbel = true` then draws documents by these weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Columns, Corpus, CorpusStep, rows_of_documents
from tutelage.corpus.minhash import Hashes
from tutelage.corpus.quality.sources import read_texts
from tutelage.corpus.words import encode, plain_tokens, range_sums

PLACES = 10_000
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(33)
_LEAST = 1e-8  # added to a probability before its logarithm is taken, as the paper's code does


class DsirSettings(Settings, tag="dsir", tag_field="kind", frozen=True, kw_only=True):
    """Documents are described by their `dsir_weight`.

    positives: files of texts as one wants them, of any kind that can be read.
    shortest:  a document of fewer words is dropped.
    """

    positives: tuple[str, ...]
    shortest: int = 100

    def __post_init__(self) -> None:
        if not self.positives:
            raise SettingsError("positives is empty; name files of texts as you want them")


def ngram_places(tokens: Hashes) -> tuple[np.ndarray, np.ndarray]:
    """The hashed places of the words and the pairs of words of N texts, uint16[P], and the bounds of each text's among
    them, int64[N + 1]."""
    words = tokens.values
    ends = np.zeros(len(words), bool)
    ends[tokens.bounds[1:][np.diff(tokens.bounds) > 0] - 1] = True
    # Each word and the pair that it begins stand side by side; the last word of a text begins none.
    both = np.empty((len(words), 2), np.uint64)
    both[:, 0] = words
    both[:, 1] = words * _MULTIPLIER
    both[:-1, 1] += words[1:]
    there = np.ones((len(words), 2), bool)
    there[:, 1] = ~ends
    places = (((both * _MULTIPLIER) >> _SHIFT) % np.uint64(PLACES)).astype(np.uint16)[there]
    counts = np.diff(tokens.bounds)
    return places, np.concatenate([[0], np.cumsum(np.maximum(2 * counts - 1, 0))])


def log_ratios(target: np.ndarray, corpus: np.ndarray) -> np.ndarray:
    """How much more likely the target has each place than the corpus, as logarithms, float64[PLACES]; from counts."""
    shares = [counts / max(counts.sum(), 1) for counts in (target, corpus)]
    return np.log(shares[0] + _LEAST) - np.log(shares[1] + _LEAST)


def dsir(settings: DsirSettings) -> CorpusStep:
    """The step of these settings; ValueError where there is no target. What it collects takes four bytes a word."""
    target = plain_tokens(encode(read_texts(settings.positives, "positives")))
    wanted = np.bincount(ngram_places(target)[0], minlength=PLACES)

    def collect(batch: DocumentBatch) -> Columns:
        tokens = plain_tokens(encode(batch.texts))
        places, bounds = ngram_places(tokens)
        return {"place": places, "count": np.diff(bounds), "words": np.diff(tokens.bounds)}

    def decide(corpus: Corpus) -> dict[str, Any]:
        raw = np.zeros(PLACES, np.int64)
        for places in corpus.columns["place"]:
            raw += np.bincount(places, minlength=PLACES)
        ratios = log_ratios(wanted, raw)
        for shard, found in enumerate(corpus.verdicts("weight", "count", np.float64)):
            bounds = np.concatenate([[0], np.cumsum(corpus.columns["count"][shard])]).astype(np.int64)
            found[:] = range_sums(ratios[corpus.columns["place"][shard]], bounds[:-1], bounds[1:])
            found[corpus.columns["words"][shard] < settings.shortest] = np.nan
        return {"n-grams of the target": int(wanted.sum()), "n-grams of the corpus": int(raw.sum())}

    def apply(batch: DocumentBatch, verdicts: Columns) -> None:
        weights = np.array(verdicts["weight"])
        batch.drop(np.isnan(weights), "too few words")
        batch.describe({"dsir_weight": weights[~np.isnan(weights)].tolist()})

    return CorpusStep(collect, decide, rows_of_documents("weight"), apply)
