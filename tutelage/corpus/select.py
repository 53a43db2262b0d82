"""Selection by a score that an earlier step added: the top fraction, percentile buckets, or a weighted sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep, rows_of_documents
from tutelage.corpus.repeats import scatter
from tutelage.text.hashing import hash_texts

_BUCKETS = ("head", "middle", "tail")


class KeepTopSettings(Settings, tag="keep_top", tag_field="kind", frozen=True, kw_only=True):
    """Keeps the documents with the highest score in the whole corpus. DCLM keeps the top 10% by a fastText classifier
    (Li et al. 2024); DSIR adds Gumbel noise to its weights, which turns top-k into sampling (Xie et al. 2023).

    field:  metadata field of the score; documents without it are dropped.
    share:  fraction of the documents to keep; or
    count:  number of documents to keep.
    lowest: keep the lowest scores instead, as for a perplexity.
    gumbel: add Gumbel noise to each score.
    seed:   seed of the noise.
    """

    field: str
    share: float | None = None
    count: int | None = None
    lowest: bool = False
    gumbel: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.share is None) == (self.count is None):
            raise SettingsError("keep_top needs either share or count")
        if self.share is not None and not 0 < self.share <= 1:
            raise SettingsError(f"share is {self.share}; it must be above 0 and at most 1")


class PercentilesSettings(Settings, tag="percentiles", tag_field="kind", frozen=True, kw_only=True):
    """Sorts documents into head, middle and tail by a score of which low is good, such as a perplexity, and writes the
    metadata field `bucket`. CCNet cuts at percentiles 30 and 60 per language (Wenzek et al. 2019, section 3.3).

    field:  metadata field of the score; documents without it are dropped.
    cuts:   the two percentiles.
    within: a metadata field ("language"); percentiles are computed separately for each of its values.
    keep:   buckets to keep.
    """

    field: str = "perplexity"
    cuts: tuple[float, float] = (30.0, 60.0)
    within: str | None = None
    keep: tuple[str, ...] = _BUCKETS

    def __post_init__(self) -> None:
        if not 0 <= self.cuts[0] <= self.cuts[1] <= 100:
            raise SettingsError(f"cuts are {self.cuts}; they must be two percentiles from 0 to 100, the lower first")
        if not self.keep or set(self.keep) - set(_BUCKETS):
            raise SettingsError(f"keep must name one or more of {', '.join(_BUCKETS)}")


def keep_top(settings: KeepTopSettings) -> GlobalStep:
    """Keep the top documents by a score (DCLM, arXiv 2406.11794), or sample them (DSIR, arXiv 2302.03169)."""

    def collect(batch: DocumentBatch) -> Columns:
        return {"score": _scores(batch, settings.field)}

    def decide(corpus: Corpus) -> dict[str, Any]:
        scores = np.concatenate(corpus.columns["score"])
        known = np.isfinite(scores)
        ranked = -scores if settings.lowest else scores.copy()
        if settings.gumbel:
            ranked += np.random.default_rng(settings.seed).gumbel(size=len(scores))
        ranked[~known] = -np.inf
        wanted = settings.count if settings.count is not None else round((settings.share or 0) * len(scores))
        chosen = np.zeros(len(scores), np.bool_)
        chosen[np.argsort(-ranked, kind="stable")[: min(wanted, int(known.sum()))]] = True
        scatter(chosen, corpus.decisions("chosen", "score", np.bool_))
        limit = float(scores[chosen].max() if settings.lowest else scores[chosen].min()) if chosen.any() else None
        return {"documents": len(scores), "kept": int(chosen.sum()), "threshold": limit}

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        _drop(batch, ~decisions["chosen"].astype(bool), settings.field, "not in the top")

    return GlobalStep(collect, decide, rows_of_documents("chosen"), apply)


def percentiles(settings: PercentilesSettings) -> GlobalStep:
    """Sort documents into percentile buckets of a score (CCNet, arXiv 1911.00359, section 3.3)."""

    def collect(batch: DocumentBatch) -> Columns:
        within = settings.within
        groups = [str(document.facts.get(within, "")) if within else "" for document in batch.documents]
        return {"score": _scores(batch, settings.field), "group": hash_texts(groups)}

    def decide(corpus: Corpus) -> dict[str, Any]:
        scores, groups = np.concatenate(corpus.columns["score"]), np.concatenate(corpus.columns["group"])
        bucket = np.full(len(scores), -1, np.int8)
        for group in np.unique(groups):
            mine = np.flatnonzero((groups == group) & np.isfinite(scores))
            if len(mine):
                low, high = np.percentile(scores[mine], settings.cuts)
                bucket[mine] = np.where(scores[mine] <= low, 0, np.where(scores[mine] <= high, 1, 2))
        scatter(bucket, corpus.decisions("bucket", "score", np.int8))
        return {"documents": len(scores), **{name: int((bucket == n).sum()) for n, name in enumerate(_BUCKETS)}}

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        names = [_BUCKETS[number] if number >= 0 else None for number in decisions["bucket"].tolist()]
        batch.add_metadata({"bucket": names})
        gone = np.array([name not in settings.keep for name in names], bool)
        _drop(batch, gone, settings.field, f"not in {' or '.join(settings.keep)}")

    return GlobalStep(collect, decide, rows_of_documents("bucket"), apply)


def _scores(batch: DocumentBatch, field: str) -> np.ndarray:
    """The score of each document, float64[N]; nan if it has none."""
    values = [document.facts.get(field) for document in batch.documents]
    return np.array([value if isinstance(value, int | float) else np.nan for value in values], np.float64)


def _drop(batch: DocumentBatch, gone: np.ndarray, field: str, reason: str) -> None:
    places = np.flatnonzero(gone)
    scores = _scores(batch, field)[places]
    reasons = [f"no {field}" if np.isnan(score) else reason for score in scores.tolist()]
    batch.drop(places, reasons, [f"{field} {score:.4g}" for score in scores.tolist()])
