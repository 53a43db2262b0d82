"""Pages that a site fills into one form: product, login and error pages of which only a name or a number changes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.consent import host
from tutelage.corpus.corpus_step import Columns, Corpus, CorpusStep
from tutelage.corpus.dedup.whole import hashes
from tutelage.corpus.repeats import groups
from tutelage.records import Document

_DIGITS, _NOT_WORD = re.compile(r"\d"), re.compile(r"[^\w\s]|_")


class TemplatedSettings(Settings, tag="templated", tag_field="kind", frozen=True, kw_only=True):
    """Writes to `facts.templated` which share of a page's characters stands in lines that other pages of its site have
    too, and drops pages of which little else is left. It must stand behind the extraction of HTML. Lines are compared
    without regard to case, every digit as 0 and without punctuation. Documents without an address pass.

    pages: of one site that must have a line before it counts as part of a form.
    share: of a page's characters that may stand in such lines.
    """

    pages: int = 5
    share: float = 0.8

    def __post_init__(self) -> None:
        if self.pages < 2 or not 0 < self.share <= 1:
            raise SettingsError("pages is at least 2; share is above 0, at most 1")


def templated(settings: TemplatedSettings) -> CorpusStep:
    """The step over the whole corpus."""

    def collect(batch: DocumentBatch) -> Columns:
        return {"line": hashes(line for document in batch.documents for line in _lines(document))}

    def decide(corpus: Corpus) -> dict[str, Any]:
        lines, form = corpus.columns["line"], corpus.verdicts("form", "line", np.bool_)
        offsets = np.cumsum([0, *map(len, lines)])
        found = 0
        for places, begins in groups(lines, corpus.memory):
            sizes = np.diff(np.flatnonzero(begins), append=len(places))
            found += int((sizes >= settings.pages).sum())
            common = np.sort(places[np.repeat(sizes >= settings.pages, sizes)])
            for number, (first, last) in enumerate(pairwise(offsets)):
                form[number][common[slice(*np.searchsorted(common, (first, last)))] - first] = True
        return {"lines": int(offsets[-1]), "lines of forms": found}

    def apply(batch: DocumentBatch, verdict: Columns) -> None:
        at, shares = 0, np.zeros(len(batch))
        for place, document in enumerate(batch.documents):
            lines = _lines(document)
            form = verdict["form"][at : at + len(lines)].tolist()
            at += len(lines)
            lengths = list(lines.values())
            filled = sum(length for length, common in zip(lengths, form, strict=True) if common)
            shares[place] = filled / max(sum(lengths), 1)
        batch.describe({"templated": shares.round(3).tolist()})
        gone = shares > settings.share
        batch.drop(gone, "templated page", [f"{share:.0%} of it on other pages" for share in shares[gone].tolist()])

    def rows(batch: DocumentBatch) -> dict[str, int]:
        return {"form": sum(len(_lines(document)) for document in batch.documents)}

    return CorpusStep(collect, decide, rows, apply)


def _lines(document: Document) -> dict[str, int]:
    """What is compared of each different line of a page, its site in front, and how many characters it has there."""
    site = host(document)
    lines: dict[str, int] = {}
    if site:
        for line in document.text.split("\n"):
            plain = _NOT_WORD.sub("", _DIGITS.sub("0", line.lower())).strip()
            if plain:
                lines[f"{site}\n{plain}"] = lines.get(f"{site}\n{plain}", 0) + len(line)
    return lines
