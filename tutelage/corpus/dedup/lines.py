"""Deduplication of lines or paragraphs across the corpus: menus, notices, the same article on many pages."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep
from tutelage.corpus.dedup.clusters import Keep, cut_repeated
from tutelage.corpus.dedup.whole import hashes
from tutelage.corpus.repeats import bloom_seen

_BREAKS = {"line": "\n", "paragraph": "\n\n"}
_DIGITS, _NOT_WORD = re.compile(r"\d"), re.compile(r"[^\w\s]|_")


class LinesSettings(Settings, tag="dedup_lines", tag_field="kind", frozen=True, kw_only=True):
    """Repeated lines or paragraphs are cut; a document of which nothing is left is dropped.

    unit:       "line", or "paragraph": separated by blank lines.
    compare:    "normalized" ignores case and punctuation and maps every digit to 0, as CCNet does (Wenzek et al. 2019,
                section 3.1); "raw" only strips white space.
    characters: shorter lines are kept.
    keep:       "first" keeps the first copy, "none" cuts all copies.
    method:     "exact", or "bloom": a Bloom filter (as Dolma), which also cuts a fraction `false_positives` of the
                lines that occur once. It keeps the first copy.
    """

    unit: Literal["line", "paragraph"] = "line"
    compare: Literal["normalized", "raw"] = "normalized"
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

    def collect(batch: DocumentBatch) -> Columns:
        lines = [text.split(end) for text in batch.texts]
        return {
            "key": hashes(_compared(line, settings) for document_lines in lines for line in document_lines),
            "count": _counts(batch, end),
        }

    def decide(corpus: Corpus) -> dict[str, Any]:
        keys, cut = corpus.columns["key"], corpus.decisions("cut", "key", np.bool_)
        if settings.method == "bloom":
            for shard, seen in zip(cut, bloom_seen(keys, settings.false_positives, corpus.memory), strict=True):
                shard[:] = seen
            return {"lines": sum(map(len, keys)), "lines_cut": sum(int(shard.sum()) for shard in cut)}
        return cut_repeated(corpus, cut, settings.keep, "lines")

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        texts: list[str | None] = []
        ends = np.cumsum(_counts(batch, end))
        touched = np.add.reduceat(decisions["cut"], ends - np.diff(ends, prepend=0)) if len(batch) else np.zeros(0)
        for document, stop, cuts in zip(batch.documents, ends.tolist(), touched.tolist(), strict=True):
            if not cuts:
                texts.append(None)
                continue
            lines = document.text.split(end)
            gone = decisions["cut"][stop - len(lines) : stop].tolist()
            texts.append(end.join(line for line, cut in zip(lines, gone, strict=True) if not cut))
        empty = [place for place, text in enumerate(texts) if text is not None and not text.strip()]
        for place in empty:
            texts[place] = None
        batch.rewrite(texts, f"repeated {settings.unit}s cut")
        batch.drop(empty, f"nothing but repeated {settings.unit}s")

    return GlobalStep(collect, decide, lambda batch: {"cut": int(_counts(batch, end).sum())}, apply)


def _counts(batch: DocumentBatch, end: str) -> np.ndarray:
    return np.array([text.count(end) + 1 for text in batch.texts], np.int64)


def _compared(line: str, settings: LinesSettings) -> str:
    """The key of a line; "" if the line is not compared."""
    line = line.strip()
    if len(line) < settings.characters:
        return ""
    return line if settings.compare == "raw" else _NOT_WORD.sub("", _DIGITS.sub("0", line.lower())).strip()
