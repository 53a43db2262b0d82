"""Exact substring deduplication: every run of `length` words, or sentences, is compared with every other, wherever it
begins, so no repeated run of that length is missed. Lee et al. 2022, arXiv 2107.06499, use a suffix array."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.columns import words_of
from tutelage.corpus.corpus_step import GlobalStep
from tutelage.corpus.dedup.clusters import Keep
from tutelage.corpus.dedup.units import cut_units, dedup_units
from tutelage.text.hashing import hash_texts
from tutelage.text.ngrams import ngrams
from tutelage.text.words import Hashes, encode, split_words

# A sentence ends at a mark that white space follows, at a mark of a script without spaces, or at the end of its line.
_SENTENCE = re.compile(r"\S[^\n]*?(?:[.!?]+(?=\s|\Z)|[。！？]+[」』”’）]*|(?=\n)|\Z)")


class SubstringSettings(Settings, tag="dedup_substring", tag_field="kind", frozen=True, kw_only=True):
    """Repeated passages are cut; a document of which nothing is left is dropped. Uses 8 bytes of disk per word.

    unit:   "word" or "sentence". Sentences are compared case-insensitively.
    length: units per passage. Lee et al. use 50 tokens, C4 3 sentences (Raffel et al. 2020, section 2.2).
    keep:   "first" keeps the first copy of a passage, "none" cuts all copies.
    """

    unit: Literal["word", "sentence"] = "word"
    length: int = 50
    keep: Keep = "first"

    def __post_init__(self) -> None:
        if self.length < (2 if self.unit == "word" else 1):
            raise SettingsError(f"length is {self.length}; it must be at least 2 words or 1 sentence")


def dedup_substring(settings: SubstringSettings) -> GlobalStep:
    """Cut passages that occurred before (Lee et al. 2022, arXiv 2107.06499; C4, arXiv 1910.10683, section 2.2)."""
    width, unit = settings.length, None if settings.unit == "word" else _SENTENCE
    read = _words if settings.unit == "word" else _sentences

    def counts(batch: DocumentBatch) -> np.ndarray:
        return np.maximum(np.diff(read(batch).bounds) - width + 1, 0)

    def keys(batch: DocumentBatch) -> np.ndarray:
        runs = ngrams(read(batch), width)
        # A shorter text is one n-gram, but not a passage.
        passages = runs.values[np.repeat(counts(batch) > 0, np.diff(runs.bounds))]
        return np.maximum(passages, np.uint64(1))

    def without(text: str, repeated: np.ndarray) -> str:
        starts = [
            *(_word_starts(text) if unit is None else (match.start() for match in unit.finditer(text))),
            len(text),
        ]
        return _without(text, starts, np.flatnonzero(repeated), width)

    def apply(batch: DocumentBatch, repeated: np.ndarray) -> None:
        cut_units(batch, repeated, counts(batch), "passages", without)

    return dedup_units("passages", keys, counts, apply, settings.keep)


def _words(batch: DocumentBatch) -> Hashes:
    """The words of each text, concatenated. The shared column also holds the words of dropped documents."""
    words = words_of(batch, "spaces")
    bounds = np.concatenate([[0], np.cumsum(words.counts)]).astype(np.int64)
    places = np.arange(bounds[-1]) + np.repeat(words.firsts - bounds[:-1], words.counts)
    return Hashes(words.hashes[places], bounds)


def _word_starts(text: str) -> list[int]:
    return split_words(encode([text]), "spaces").starts.tolist()


def _sentences(batch: DocumentBatch) -> Hashes:
    found = batch.shared("sentences", lambda texts: [_SENTENCE.findall(text) for text in texts])
    bounds = np.cumsum([0, *map(len, found)], dtype=np.int64)
    return Hashes(hash_texts(sentence.strip().lower() for own in found for sentence in own), bounds)


def _without(text: str, starts: list[int], passages: np.ndarray, width: int) -> str:
    """The text without the passages of `width` units that begin at the given units.

    starts:   start offset of each unit, then the end of the text.
    passages: ascending unit indices.
    """
    kept, end = [], 0
    for first in passages.tolist():
        if starts[first] > end:
            kept.append(text[end : starts[first]])
        end = starts[first + width]
    return "".join([*kept, text[end:]])
