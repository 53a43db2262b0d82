"""Removes paragraphs and documents most of whose word n-grams occurred before, as DCLM does (Li et al. 2024, arXiv
2406.11794, section 4.3 and appendix L)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import GlobalStep
from tutelage.corpus.dedup.units import dedup_units
from tutelage.corpus.rules.checks import shares
from tutelage.text.characters import MARKS
from tutelage.text.ngrams import ngrams
from tutelage.text.words import hash_words, range_sums


class NgramSettings(Settings, tag="dedup_ngrams", tag_field="kind", frozen=True, kw_only=True):
    """A paragraph (a line) is cut, and a document dropped, if at least `share` of its n-grams occurred before, in input
    order. Uses 8 bytes of disk per word.

    width:    tokens (words or punctuation marks) per n-gram; a shorter paragraph is one n-gram.
    share:    fraction of duplicated n-grams.
    shortest: paragraphs of fewer tokens are kept and not counted.
    of:       what is removed: paragraphs, documents or both.
    method:   "bloom" as in DCLM, which takes a fraction `false_positives` of new n-grams for old ones; or "exact".
    """

    width: int = 13
    share: float = 0.8
    shortest: int = 5
    of: Literal["paragraphs", "documents", "both"] = "both"
    method: Literal["bloom", "exact"] = "bloom"
    false_positives: float = 0.01

    def __post_init__(self) -> None:
        if self.width < 1 or not 0 < self.share <= 1 or not 0 < self.false_positives < 1:
            raise SettingsError(
                "width must be at least 1, share above 0 and at most 1, false_positives between 0 and 1"
            )


class _Read(NamedTuple):
    """The n-grams of a batch.

    keys:       uint64[G], 0 in short paragraphs.
    grams:      int64[P + 1], bounds of each paragraph in `keys`.
    paragraphs: int64[N + 1], bounds of each document in the paragraphs.
    """

    keys: np.ndarray
    grams: np.ndarray
    paragraphs: np.ndarray


def dedup_ngrams(settings: NgramSettings) -> GlobalStep:
    """Remove paragraphs and documents whose n-grams mostly occurred before (DCLM, arXiv 2406.11794, appendix L)."""

    def read(batch: DocumentBatch) -> _Read:
        split = [text.split("\n") for text in batch.texts]
        tokens = hash_words([paragraph for own in split for paragraph in own], MARKS)
        runs = ngrams(tokens, settings.width)
        long = np.repeat(np.diff(tokens.bounds) >= settings.shortest, np.diff(runs.bounds))
        keys = np.where(long, np.maximum(runs.values, np.uint64(1)), np.uint64(0))
        return _Read(keys, runs.bounds, np.cumsum([0, *map(len, split)], dtype=np.int64))

    def counts(batch: DocumentBatch) -> np.ndarray:
        found = read(batch)
        return np.diff(found.grams[found.paragraphs])

    def apply(batch: DocumentBatch, repeated: np.ndarray) -> None:
        found = read(batch)
        old, all_ = (_sums(flags, found.grams) for flags in (repeated, found.keys != 0))
        of_document = shares(*(_sums(counts, found.paragraphs) for counts in (old, all_)))
        gone = of_document >= settings.share if settings.of != "paragraphs" else np.zeros(len(batch), bool)
        cut = shares(old, all_) >= settings.share if settings.of != "documents" else np.zeros(len(all_), bool)
        texts: list[str | None] = [None] * len(batch)
        for place in np.flatnonzero((_sums(cut, found.paragraphs) > 0) & ~gone).tolist():
            flags = cut[found.paragraphs[place] : found.paragraphs[place + 1]].tolist()
            paragraphs = batch.documents[place].text.split("\n")
            texts[place] = "\n".join(p for p, flag in zip(paragraphs, flags, strict=True) if not flag)
            if not str(texts[place]).strip():
                texts[place], gone[place] = None, True
        batch.rewrite(texts, "repeated paragraphs cut")
        batch.drop(
            gone,
            "repeated n-grams",
            [f"{share:.0%} of its n-grams occurred before" for share in of_document[gone].tolist()],
        )

    bloom = settings.false_positives if settings.method == "bloom" else None
    return dedup_units("ngrams", lambda batch: read(batch).keys, counts, apply, "first", bloom)


def _sums(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    return range_sums(values, bounds[:-1], bounds[1:])
