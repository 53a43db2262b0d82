"""Passages that stand in the corpus more than once, word for word, wherever they begin: every run of so many words, or
sentences, is compared with every other, so that nothing that long is missed (Lee et al. 2022, arXiv 2107.06499, do it
with a suffix array)."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Columns, Corpus, CorpusStep
from tutelage.corpus.dedup.clusters import Keep, cut_repeated
from tutelage.corpus.dedup.whole import hashes
from tutelage.corpus.minhash import Hashes, shingles
from tutelage.corpus.words import words_of

# A sentence ends with its mark, where white space follows, or with its line.
_UNITS = {"word": re.compile(r"\S+"), "sentence": re.compile(r"\S[^\n]*?(?:[.!?]+(?=\s|\Z)|(?=\n)|\Z)")}


class SubstringSettings(Settings, tag="dedup_substring", tag_field="kind", frozen=True, kw_only=True):
    """Repeated passages are cut; a document of which nothing is left is dropped. Takes 8 bytes of disk a word.

    unit, length: a passage is so many words (Lee et al. took 50 tokens) or sentences (C4 took 3: Raffel et al. 2020,
                  section 2.2); shorter ones stay. Sentences are compared without regard to case.
    keep:         "one" keeps each passage where it stands first, "none" cuts it there too.
    """

    unit: Literal["word", "sentence"] = "word"
    length: int = 50
    keep: Keep = "one"

    def __post_init__(self) -> None:
        if self.length < (2 if self.unit == "word" else 1):
            raise SettingsError(f"length is {self.length}; a passage has at least 2 words, or a sentence")


def dedup_substring(settings: SubstringSettings) -> CorpusStep:
    """The step that the settings describe."""
    width = settings.length
    read = _words if settings.unit == "word" else _sentences

    def counts(batch: DocumentBatch) -> np.ndarray:
        return np.maximum(np.diff(read(batch).bounds) - width + 1, 0)

    def collect(batch: DocumentBatch) -> Columns:
        runs, count = shingles(read(batch), width), counts(batch)
        # A text of fewer units is one shingle, which is no passage.
        passages = runs.values[np.repeat(count > 0, np.diff(runs.bounds))]
        return {"key": np.maximum(passages, np.uint64(1)), "count": count}

    def decide(corpus: Corpus) -> dict[str, Any]:
        return cut_repeated(corpus, corpus.verdicts("cut", "key", np.bool_), settings.keep, "passages")

    def apply(batch: DocumentBatch, verdict: Columns) -> None:
        ends = np.cumsum(counts(batch))
        texts: list[str | None] = [None] * len(batch)
        begin = 0
        for place, end in enumerate(ends.tolist()):
            gone = np.flatnonzero(verdict["cut"][begin:end])
            begin = end
            if len(gone):
                text = batch.documents[place].text
                starts = [unit.start() for unit in _UNITS[settings.unit].finditer(text)] + [len(text)]
                texts[place] = _without(text, starts, gone, width)
        empty = [place for place, text in enumerate(texts) if text is not None and not text.strip()]
        for place in empty:
            texts[place] = None
        batch.rewrite(texts, "repeated passages cut")
        batch.drop(empty, "nothing but repeated passages")

    return CorpusStep(collect, decide, lambda batch: {"cut": int(counts(batch).sum())}, apply)


def _words(batch: DocumentBatch) -> Hashes:
    """The words of each text, end to end; in their own column lie those of dropped documents between them."""
    words = words_of(batch, "spaces")
    bounds = np.concatenate([[0], np.cumsum(words.counts)]).astype(np.int64)
    places = np.arange(bounds[-1]) + np.repeat(words.firsts - bounds[:-1], words.counts)
    return Hashes(words.hashes[places], bounds)


def _sentences(batch: DocumentBatch) -> Hashes:
    found = batch.shared("sentences", lambda texts: [_UNITS["sentence"].findall(text) for text in texts])
    bounds = np.cumsum([0, *map(len, found)], dtype=np.int64)
    return Hashes(hashes(sentence.strip().lower() for own in found for sentence in own), bounds)


def _without(text: str, starts: list[int], passages: np.ndarray, width: int) -> str:
    """The text without the passages of `width` units that begin at the units of these numbers, which ascend.

    starts: where each unit begins; at last the end of the text.
    """
    kept, at = [], 0
    for first in passages.tolist():
        if starts[first] > at:
            kept.append(text[at : starts[first]])
        at = starts[first + width]
    return "".join([*kept, text[at:]])
