"""The steps that mask personal data (PII) and drop domains full of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep, rows_of_documents
from tutelage.text.hashing import hash_texts
from tutelage.text.pii import KINDS, Kind, find_pii, mask
from tutelage.text.urls import url_host


class PiiSettings(Settings, tag="pii", tag_field="kind", frozen=True, kw_only=True):
    """Replaces e-mail addresses, public IP addresses, telephone numbers, card numbers, API keys and private keys by
    placeholders.

    kinds:     what to replace; default: all but "name", the names of people. FineWeb replaces "email" and "ip".
    max_spans: a document with more of them is dropped. Dolma uses 5. None drops no document.
    """

    kinds: tuple[Kind, ...] = KINDS
    max_spans: int | None = None


def pii(settings: PiiSettings) -> Step:
    """Mask personal data (FineWeb, arXiv 2406.17557, section 3.7; Dolma, arXiv 2402.00159, drops by count)."""

    def step(batch: DocumentBatch) -> None:
        found = [find_pii(document.text, settings.kinds) for document in batch.documents]
        limit = settings.max_spans
        batch.rewrite(
            [
                mask(d.text, f) if f and (limit is None or len(f) <= limit) else None
                for d, f in zip(batch.documents, found, strict=True)
            ],
            "personal data masked",
        )
        for kind in settings.kinds:
            batch.note(f"documents with {kind}", sum(any(span.kind == kind for span in spans) for spans in found))
        if limit is not None:
            full = [place for place, spans in enumerate(found) if len(spans) > limit]
            batch.drop(full, "too much personal data", [f"{len(found[place])} spans" for place in full])

    return step


class PiiDomainSettings(Settings, tag="pii_domains", tag_field="kind", frozen=True, kw_only=True):
    """Drops all documents of a domain with much personal data. Place it before the step that masks them.

    share:     maximum fraction of a domain's documents with at least `spans` spans of personal data.
    spans:     see `share`.
    documents: domains with fewer documents are kept.
    """

    share: float = 0.5
    spans: int = 3
    documents: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.spans < 1 or self.documents < 1:
            raise SettingsError("share must be at least 0 and below 1; spans and documents must be at least 1")


def pii_domains(settings: PiiDomainSettings) -> GlobalStep:
    """Drop domains with much personal data. A global step. Documents without a URL are kept."""

    def collect(batch: DocumentBatch) -> Columns:
        full = [len(find_pii(document.text)) >= settings.spans for document in batch.documents]
        hosts = hash_texts(url_host(document.meta.get("url", "")) for document in batch.documents)
        return {"host": hosts, "full": np.array(full, bool)}

    def decide(corpus: Corpus) -> dict[str, Any]:
        hosts, full = corpus.columns["host"], corpus.columns["full"]
        names = np.unique(np.concatenate([np.unique(shard) for shard in hosts] or [np.empty(0, np.uint64)]))
        counts, heavy = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
        for shard, flags in zip(hosts, full, strict=True):
            at = np.searchsorted(names, shard)
            counts += np.bincount(at, minlength=len(names))
            heavy += np.bincount(at[flags], minlength=len(names))
        gone = (names != 0) & (counts >= settings.documents) & (heavy > settings.share * counts)
        for shard, decisions in zip(hosts, corpus.decisions("domain", "host", np.uint8), strict=True):
            decisions[:] = gone[np.searchsorted(names, shard)]
        return {"domains": int((names != 0).sum()), "domains_dropped": int(gone.sum())}

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        gone = np.flatnonzero(decisions["domain"])
        hosts = [url_host(batch.documents[place].meta.get("url", "")) for place in gone.tolist()]
        batch.drop(gone, "domain with much personal data", hosts)

    return GlobalStep(collect, decide, rows_of_documents("domain"), apply)
