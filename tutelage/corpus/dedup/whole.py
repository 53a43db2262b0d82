"""Exact deduplication of whole documents, by URL or by text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep, rows_of_documents
from tutelage.corpus.dedup.clusters import Keep, drop_copies, label_equal, write_decisions
from tutelage.text.hashing import hash_texts
from tutelage.text.urls import normalized_url
from tutelage.text.words import normalized_text


class UrlSettings(Settings, tag="dedup_url", tag_field="kind", frozen=True, kw_only=True):
    """Documents with the same URL (`meta.url`), ignoring the scheme, its usual port, "www.", the fragment, trailing
    slashes, parameters that only follow the visitor (`utm_*`, `fbclid`, `gclid`, sessions ...) and the spelling of
    international names and percent signs.

    keep: "first" keeps the first copy, "none" drops all copies.
    """

    keep: Keep = "first"


class ExactSettings(Settings, tag="dedup_exact", tag_field="kind", frozen=True, kw_only=True):
    """Documents with the same text.

    text: "raw" compares the text unchanged; "words" compares lower-cased letters and digits only.
    keep: "first" keeps the first copy, "none" drops all copies.
    """

    text: Literal["raw", "words"] = "raw"
    keep: Keep = "first"


def dedup_url(settings: UrlSettings) -> GlobalStep:
    """Drop documents whose URL occurred before (as Dolma, arXiv 2402.00159, but exact instead of a Bloom filter)."""

    def collect(batch: DocumentBatch) -> Columns:
        return {"key": hash_texts(normalized_url(document.meta.get("url", "")) for document in batch.documents)}

    return _dedup(collect, settings.keep, "duplicate URL")


def dedup_exact(settings: ExactSettings) -> GlobalStep:
    """Drop documents whose text occurred before (as Gopher, arXiv 2112.11446, A.1, and Dolma, arXiv 2402.00159)."""

    def collect(batch: DocumentBatch) -> Columns:
        if settings.text == "raw":
            return {"key": hash_texts(batch.texts)}
        return {"key": hash_texts(map(normalized_text, batch.texts))}

    return _dedup(collect, settings.keep, "duplicate text")


def _dedup(collect: Callable[[DocumentBatch], Columns], keep: Keep, reason: str) -> GlobalStep:
    def decide(corpus: Corpus) -> dict[str, Any]:
        return write_decisions(corpus, label_equal(corpus.columns["key"], corpus.memory), "key")

    apply = partial(drop_copies, keep=keep, reason=reason)
    return GlobalStep(collect, decide, rows_of_documents("cluster", "copies"), apply)
