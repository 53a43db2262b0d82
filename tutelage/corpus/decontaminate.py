"""Decontamination: finds benchmark text in training documents and removes it.

Three published methods, all by n-gram overlap; words are compared without case and punctuation:

- GPT-3 cuts every passage that shares 13 words with a benchmark (arXiv 2005.14165, appendix C).
- Llama 3 measures the fraction of a benchmark item that shared 8-grams cover (arXiv 2407.21783, section 5.1.4).
- Tulu 3 drops a document that covers more than half of an item in this way (arXiv 2411.15124, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.columns import characters_of
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep
from tutelage.corpus.dedup.units import group_sizes, mark
from tutelage.corpus.examination import read_items
from tutelage.corpus.fetch import local_file
from tutelage.corpus.repeats import group_equal
from tutelage.text.ngrams import SHORTEST, STOP_GRAM_LIMIT, ItemIndex, find_items, index_items, most_covered
from tutelage.text.words import encode, normalized_words


class CutSettings(Settings, tag="decontaminate_gpt3", tag_field="kind", frozen=True, kw_only=True):
    """The method of GPT-3: passages shared with a benchmark are cut, with a margin around them. The remaining parts are
    kept as separate documents.

    against:         benchmark files: JSON lines, JSON, CSV, Parquet or text; .gz and .zst too; local, or URLs that
                     fsspec opens.
    fields:          fields of a row that make up the item; default: all that hold text.
    width:           words per n-gram. Shorter items are matched as a whole; items below 8 words are not matched.
    stop_gram_limit: an n-gram of more items than this is boilerplate of the benchmark, and is not matched.
    max_documents:   a shared n-gram of more documents of the corpus than this is a common phrase, and is kept.
    margin:          characters cut before and after a shared n-gram.
    shortest:        a remaining part of fewer characters is dropped.
    max_parts:       a document that falls into more parts than this is dropped.
    """

    against: tuple[str, ...]
    fields: tuple[str, ...] | None = None
    width: int = 13
    stop_gram_limit: int = STOP_GRAM_LIMIT
    max_documents: int = 10
    margin: int = 200
    shortest: int = 200
    max_parts: int = 10

    def __post_init__(self) -> None:
        _check(self.against, self.width)


class CoverSettings(Settings, frozen=True, kw_only=True):
    """Drops documents that cover more than `share` of the words of a benchmark item with shared n-grams of `width`
    words. Words of the item outside of all matched n-grams do not count. `against`, `fields` and `stop_gram_limit` as
    in `CutSettings`."""

    against: tuple[str, ...]
    fields: tuple[str, ...] | None = None
    width: int = 8
    stop_gram_limit: int = STOP_GRAM_LIMIT
    share: float

    def __post_init__(self) -> None:
        _check(self.against, self.width)
        if not 0 <= self.share < 1:
            raise SettingsError(
                f"share is {self.share}; it must be at least 0 and below 1: a fraction of an item's words"
            )


class Llama3Settings(CoverSettings, tag="decontaminate_llama3", tag_field="kind", frozen=True, kw_only=True):
    """The method of Llama 3, which chose a share for each benchmark, so there is no default."""


class Tulu3Settings(CoverSettings, tag="decontaminate_tulu3", tag_field="kind", frozen=True, kw_only=True):
    """The method of Tulu 3: more than half of an item."""

    share: float = 0.5


def _check(against: Sequence[str], width: int) -> None:
    if not against:
        raise SettingsError("against is empty; name at least one benchmark file")
    if width < SHORTEST:
        raise SettingsError(
            f"width is {width}; it must be at least {SHORTEST}: shorter n-grams occur in too many texts"
        )


def decontaminate(settings: CoverSettings) -> Step:
    """Drop documents that cover too much of a benchmark item (Llama 3, arXiv 2407.21783, section 5.1.4; Tulu 3, arXiv
    2411.15124, section 3.2). Raises ValueError if a benchmark is unreadable or has nothing to match."""
    names, index = _index(settings)

    def step(batch: DocumentBatch) -> None:
        shares, found = most_covered(normalized_words(characters_of(batch)).hashes, index)
        gone = shares > settings.share
        worst = zip(shares[gone].tolist(), found[gone].tolist(), strict=True)
        details = [f"{share:.0%} of {names[item]}" for share, item in worst]
        batch.drop(gone, "contains a benchmark item", details)

    return step


class _Shared(NamedTuple):
    """The n-grams that one document shares with benchmark items.

    grams: uint64[G], sorted unique hashes.
    spans: (begin, end, gram, item) of each occurrence: character offsets, index in `grams`, index of the item.
    """

    grams: np.ndarray
    spans: list[tuple[int, int, int, int]]


def cut_contamination(settings: CutSettings) -> GlobalStep:
    """Cut benchmark passages out of documents (GPT-3, arXiv 2005.14165, appendix C). ValueError as in
    `decontaminate`."""
    names, index = _index(settings)

    def shared(batch: DocumentBatch) -> list[_Shared]:
        return batch.shared(("shared n-grams", id(index)), lambda texts: _shared(texts, index))

    def collect(batch: DocumentBatch) -> Columns:
        grams = [document.grams for document in shared(batch)]
        return {"gram": np.concatenate([np.empty(0, np.uint64), *grams])}

    def decide(corpus: Corpus) -> dict[str, Any]:
        often = corpus.decisions("often", "gram", np.bool_)
        for places, begins in group_equal(corpus.columns["gram"], corpus.memory):
            documents = group_sizes(places, begins)
            mark(often, places[np.repeat(documents > settings.max_documents, documents)])
        total = sum(int(flags.sum()) for flags in often)
        return {"shared_ngrams": sum(map(len, often)), "shared_ngrams_too_frequent": total}

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        pieces: list[list[str] | None] = []
        dropped: dict[int, tuple[str, str]] = {}
        spared, at = 0, 0
        for place, (document, own) in enumerate(zip(batch.documents, shared(batch), strict=True)):
            often = decisions["often"][at : at + len(own.grams)]
            at += len(own.grams)
            spans = [span for span in own.spans if not often[span[2]]]
            spared += len(spans) < len(own.spans)
            left = _left(document.text, spans, settings.margin, settings.shortest) if spans else None
            pieces.append(left)
            if left is None:
                continue
            named = names[spans[0][3]]
            if not left:
                dropped[place] = ("nothing but benchmark text", named)
            elif len(left) > settings.max_parts:
                dropped[place] = ("too many benchmark passages", f"{len(left)} parts; {named}")
        batch.note("frequent benchmark n-grams kept", spared)
        batch.drop(list(dropped), [why for why, _ in dropped.values()], [detail for _, detail in dropped.values()])
        batch.split([left for place, left in enumerate(pieces) if place not in dropped], "benchmark passages cut")

    def rows(batch: DocumentBatch) -> dict[str, int]:
        return {"often": sum(len(document.grams) for document in shared(batch))}

    return GlobalStep(collect, decide, rows, apply)


def _shared(texts: list[str], index: ItemIndex) -> list[_Shared]:
    """The n-grams that each text shares with benchmark items."""
    words = normalized_words(encode(texts), placed=True)
    hits = find_items(words.hashes, index)
    begins = words.spans[hits.words, 0] - words.characters.starts[hits.texts]
    ends = words.spans[hits.words + hits.widths - 1, 1] - words.characters.starts[hits.texts]
    order = np.argsort(hits.texts, kind="stable")
    bounds = np.searchsorted(hits.texts[order], np.arange(len(texts) + 1))
    found = []
    for place in range(len(texts)):
        own = order[bounds[place] : bounds[place + 1]]
        grams, which = np.unique(hits.grams[own], return_inverse=True)
        spans = zip(begins[own].tolist(), ends[own].tolist(), which.tolist(), hits.items[own].tolist(), strict=True)
        found.append(_Shared(grams, sorted(spans)))
    return found


def _left(text: str, spans: list[tuple[int, int, int, int]], around: int, shortest: int) -> list[str]:
    """The parts of a text outside of the spans and of `around` characters beside each, if they are long enough."""
    pieces, at = [], 0
    for begin, end, *_ in [*spans, (len(text) + around, len(text) + around)]:
        if begin - around - at >= max(shortest, 1):
            pieces.append(text[at : begin - around])
        at = max(at, end + around)
    return pieces


def _index(settings: CutSettings | CoverSettings) -> tuple[list[str], ItemIndex]:
    items = [item for path in settings.against for item in read_items(local_file(path), settings.fields)]
    index = index_items([item.texts for item in items], settings.width, settings.stop_gram_limit)
    return [item.name for item in items], index
