"""Documents that stand there twice, whole: at the same address, or with the same text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import numpy as np

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Columns, Corpus, CorpusStep, rows_of_documents
from tutelage.corpus.dedup.clusters import Keep, drop_copies, label_equal, write_verdicts


class UrlSettings(Settings, tag="dedup_url", tag_field="kind", frozen=True, kw_only=True):
    """Documents of one address (`meta.url`), leaving out http or https, "www.", "#..." and a last slash.

    keep: "one" keeps the first, "none" drops them all.
    """

    keep: Keep = "one"


class ExactSettings(Settings, tag="dedup_exact", tag_field="kind", frozen=True, kw_only=True):
    """Documents of one text.

    text: "as it is", or "words": only letters and digits count, without regard to case.
    keep: "one" keeps the first, "none" drops them all.
    """

    text: Literal["as it is", "words"] = "as it is"
    keep: Keep = "one"


def hashes(texts: Iterable[str]) -> np.ndarray:
    """64 bits of the SHA-1 of each text, uint64[N]; 0 for an empty one, which is not to be compared."""
    digests = [hashlib.sha1(text.encode("utf-8", "surrogatepass")).digest()[:8] if text else bytes(8) for text in texts]
    return np.frombuffer(b"".join(digests), np.uint64)


def same_url(url: str) -> str:
    """An address without what does not tell two pages apart."""
    bare = re.sub(r"^https?://(www\.)?", "", url.strip(), flags=re.IGNORECASE).partition("#")[0].rstrip("/")
    host, slash, path = bare.partition("/")
    return host.lower() + slash + path


def dedup_url(settings: UrlSettings) -> CorpusStep:
    """The step that `UrlSettings` describe."""

    def collect(batch: DocumentBatch) -> Columns:
        return {"key": hashes(same_url(document.meta.get("url", "")) for document in batch.documents)}

    return _dedup(collect, settings.keep, "address seen before")


def dedup_exact(settings: ExactSettings) -> CorpusStep:
    """The step that `ExactSettings` describe."""

    def collect(batch: DocumentBatch) -> Columns:
        if settings.text == "as it is":
            return {"key": hashes(batch.texts)}
        return {"key": hashes(re.sub(r"[\W_]+", " ", text).strip().lower() for text in batch.texts)}

    return _dedup(collect, settings.keep, "text seen before")


def _dedup(collect: Callable[[DocumentBatch], Columns], keep: Keep, reason: str) -> CorpusStep:
    def decide(corpus: Corpus) -> dict[str, Any]:
        return write_verdicts(corpus, label_equal(corpus.columns["key"], corpus.memory), "key")

    apply = partial(drop_copies, keep=keep, reason=reason)
    return CorpusStep(collect, decide, rows_of_documents("cluster", "copies"), apply)
