"""Exact deduplication of whole documents, by URL or by text."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Corpus, GlobalStep, rows_of_documents
from tutelage.corpus.dedup.clusters import DECISIONS, Keep, drop_copies, label_equal, write_decisions
from tutelage.corpus.dedup.known import Keys, finished_corpora, known_keys
from tutelage.text.hashing import hash_texts
from tutelage.text.urls import normalized_url
from tutelage.text.words import normalized_text

_KEYS = 1  # increase it whenever the key of a document changes


class UrlSettings(Settings, tag="dedup_url", tag_field="kind", frozen=True, kw_only=True):
    """Documents with the same URL (`meta.url`), ignoring the scheme, its usual port, "www.", the fragment, trailing
    slashes, parameters that only follow the visitor (`utm_*`, `fbclid`, `gclid`, sessions ...) and the spelling of
    international names and percent signs.

    keep:    "first" keeps the first copy, "none" drops all copies.
    against: folders of finished corpora. A document with the URL of one of theirs is dropped.
    """

    keep: Keep = "first"
    against: tuple[str, ...] | str = ()


class ExactSettings(Settings, tag="dedup_exact", tag_field="kind", frozen=True, kw_only=True):
    """Documents with the same text.

    text:    "raw" compares the text unchanged; "words" compares lower-cased letters and digits only.
    keep:    "first" keeps the first copy, "none" drops all copies.
    against: folders of finished corpora. A document with the text of one of theirs is dropped.
    """

    text: Literal["raw", "words"] = "raw"
    keep: Keep = "first"
    against: tuple[str, ...] | str = ()


def dedup_url(settings: UrlSettings) -> GlobalStep:
    """Drop documents whose URL occurred before (as Dolma, arXiv 2402.00159, but exact instead of a Bloom filter).

    Raises:
        ValueError: `against` names no finished corpus.
    """

    def keys(batch: DocumentBatch) -> np.ndarray:
        return hash_texts(normalized_url(document.meta.get("url", "")) for document in batch.documents)

    return _dedup(keys, "url", settings.against, settings.keep, "duplicate URL")


def dedup_exact(settings: ExactSettings) -> GlobalStep:
    """Drop documents whose text occurred before (as Gopher, arXiv 2112.11446, A.1, and Dolma, arXiv 2402.00159).

    Raises:
        ValueError: `against` names no finished corpus.
    """

    def keys(batch: DocumentBatch) -> np.ndarray:
        return hash_texts(batch.texts if settings.text == "raw" else map(normalized_text, batch.texts))

    return _dedup(keys, settings.text, settings.against, settings.keep, "duplicate text")


def _dedup(keys: Keys, kind: str, against: str | tuple[str, ...], keep: Keep, reason: str) -> GlobalStep:
    corpora = finished_corpora(against)

    def decide(corpus: Corpus) -> dict[str, Any]:
        known = [column[:, 0] for column in known_keys(corpora, 1, [_KEYS, kind], lambda batch: keys(batch)[:, None])]
        labels = label_equal([*known, *corpus.columns["key"]], corpus.memory)
        return write_decisions(corpus, labels, "key", sum(map(len, known)))

    apply = partial(drop_copies, keep=keep, reason=reason)
    return GlobalStep(lambda batch: {"key": keys(batch)}, decide, rows_of_documents(*DECISIONS), apply)
