"""Boilerplate pages: product, login and error pages of one site that differ in a name or a number only."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep
from tutelage.corpus.dedup.units import group_sizes, mark
from tutelage.corpus.repeats import group_equal
from tutelage.records import Document
from tutelage.text.hashing import hash_texts
from tutelage.text.urls import url_host
from tutelage.text.words import normalized_line


class BoilerplateSettings(Settings, tag="boilerplate", tag_field="kind", frozen=True, kw_only=True):
    """Writes the fraction of a page's characters in lines that other pages of its site share to the metadata field
    `boilerplate`, and drops pages that consist mostly of such lines. Place it after the extraction of HTML. Lines are
    compared without case and punctuation, with every digit as 0. Documents without a URL are kept.

    pages: a line is boilerplate if at least this many pages of the site have it.
    share: maximum fraction of a page's characters in boilerplate lines.
    """

    pages: int = 5
    share: float = 0.8

    def __post_init__(self) -> None:
        if self.pages < 2 or not 0 < self.share <= 1:
            raise SettingsError("pages must be at least 2; share must be above 0 and at most 1")


def boilerplate(settings: BoilerplateSettings) -> GlobalStep:
    """Drop pages that are mostly boilerplate of their site. A global step."""

    def collect(batch: DocumentBatch) -> Columns:
        return {"line": hash_texts(line for document in batch.documents for line in _lines(document))}

    def decide(corpus: Corpus) -> dict[str, Any]:
        marked = corpus.decisions("boilerplate", "line", np.bool_)
        found = 0
        for places, begins in group_equal(corpus.columns["line"], corpus.memory):
            sizes = group_sizes(places, begins)
            found += int((sizes >= settings.pages).sum())
            mark(marked, places[np.repeat(sizes >= settings.pages, sizes)])
        return {"lines": sum(map(len, marked)), "boilerplate_lines": found}

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        at, shares = 0, np.zeros(len(batch))
        for place, document in enumerate(batch.documents):
            lines = _lines(document)
            form = decisions["boilerplate"][at : at + len(lines)].tolist()
            at += len(lines)
            lengths = list(lines.values())
            filled = sum(length for length, common in zip(lengths, form, strict=True) if common)
            shares[place] = filled / max(sum(lengths), 1)
        batch.add_metadata({"boilerplate": shares.round(3).tolist()})
        gone = shares > settings.share
        batch.drop(gone, "boilerplate page", [f"{share:.0%} of it on other pages" for share in shares[gone].tolist()])

    def rows(batch: DocumentBatch) -> dict[str, int]:
        return {"boilerplate": sum(len(_lines(document)) for document in batch.documents)}

    return GlobalStep(collect, decide, rows, apply)


def _lines(document: Document) -> dict[str, int]:
    """Per distinct normalised line of a page, prefixed by its site: its number of characters on the page."""
    site = url_host(document.meta.get("url", ""))
    lines: dict[str, int] = {}
    if site:
        for line in document.text.split("\n"):
            plain = normalized_line(line)
            if plain:
                lines[f"{site}\n{plain}"] = lines.get(f"{site}\n{plain}", 0) + len(line)
    return lines
