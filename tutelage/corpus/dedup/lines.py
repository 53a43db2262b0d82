"""Deduplication of lines or paragraphs across the corpus: menus, notices, the same article on many pages."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import GlobalStep
from tutelage.corpus.dedup.clusters import Keep
from tutelage.corpus.dedup.units import cut_units, dedup_units
from tutelage.text.hashing import hash_texts
from tutelage.text.words import normalized_line

_WORD = re.compile(r"\w\S*")
_BREAKS = {"line": "\n", "paragraph": "\n\n"}


class LinesSettings(Settings, tag="dedup_lines", tag_field="kind", frozen=True, kw_only=True):
    """Repeated lines or paragraphs are cut; a document of which nothing is left is dropped.

    unit:       "line", or "paragraph": separated by blank lines.
    compare:    "words" ignores case and punctuation; lines of numbers alone, such as rows of tables, are not compared.
                "normalized" maps every digit to 0 too, as CCNet does (Wenzek et al. 2019, section 3.1), so that of
                rows which differ in numbers alone one is left. "raw" only strips white space.
    characters: shorter lines are kept.
    keep:       "first" keeps the first copy, "none" cuts all copies.
    method:     "exact", or "bloom": a Bloom filter (as Dolma), which also cuts a fraction `false_positives` of the
                lines that occur once. It keeps the first copy.
    """

    unit: Literal["line", "paragraph"] = "line"
    compare: Literal["words", "normalized", "raw"] = "words"
    characters: int = 1
    keep: Keep = "first"
    method: Literal["exact", "bloom"] = "exact"
    false_positives: float = 1e-6

    def __post_init__(self) -> None:
        if self.method == "bloom" and self.keep == "none":
            raise SettingsError(
                'keep = "none" needs method = "exact": a Bloom filter does not know later copies; or set keep = "first"'
            )
        if not 0 < self.false_positives < 1:
            raise SettingsError(f"false_positives is {self.false_positives}; it must be between 0 and 1")


def dedup_lines(settings: LinesSettings) -> GlobalStep:
    """Cut lines or paragraphs that occurred before (CCNet, arXiv 1911.00359, 3.1; Dolma, arXiv 2402.00159)."""
    end = _BREAKS[settings.unit]

    def keys(batch: DocumentBatch) -> np.ndarray:
        return hash_texts(_compared(line, settings) for text in batch.texts for line in text.split(end))

    def counts(batch: DocumentBatch) -> np.ndarray:
        return np.array([text.count(end) + 1 for text in batch.texts], np.int64)

    def without(text: str, repeated: np.ndarray) -> str:
        return end.join(line for line, cut in zip(text.split(end), repeated.tolist(), strict=True) if not cut)

    def apply(batch: DocumentBatch, repeated: np.ndarray) -> None:
        cut_units(batch, repeated, counts(batch), f"{settings.unit}s", without, lambda text: text.split(end))

    bloom = settings.false_positives if settings.method == "bloom" else None
    return dedup_units("lines", keys, counts, apply, settings.keep, bloom)


def _compared(line: str, settings: LinesSettings) -> str:
    """The key of a line; "" if the line is not compared."""
    line = line.strip()
    if len(line) < settings.characters:
        return ""
    if settings.compare == "raw":
        return line
    if settings.compare == "normalized":
        return normalized_line(line)
    return "" if all(map(_has_digit, _WORD.findall(line))) else normalized_line(line, digits=True)


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))
