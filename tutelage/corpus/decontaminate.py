"""Decontamination: finds benchmark text in training documents and removes it.

Three published methods, all by n-gram overlap; words are compared without case and punctuation:

- GPT-3 cuts every passage that shares 13 words with a benchmark (arXiv 2005.14165, appendix C).
- Llama 3 measures the fraction of a benchmark item that shared 8-grams cover (arXiv 2407.21783, section 5.1.4).
- Tulu 3 drops a document that covers more than half of an item in this way, and calls a dataset contaminated if it
  covers more than 2% of a benchmark (arXiv 2411.15124, section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.corpus_step import Columns, Corpus, GlobalStep
from tutelage.corpus.examination import Item, read_items
from tutelage.corpus.fetch import local_file
from tutelage.corpus.minhash import shingles
from tutelage.corpus.overlap import COMMON, SHORTEST
from tutelage.corpus.repeats import groups, spread
from tutelage.corpus.words import Plain, characters_of, encode, plain_words

SET_LIMIT = 0.02  # a dataset that hits more of a benchmark than this is contaminated (Tulu 3)
_FILTER_BITS = 22


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
    stop_gram_limit: int = COMMON
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
    stop_gram_limit: int = COMMON
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


@dataclass(frozen=True, eq=False)
class Runs:
    """N-grams of one width to match.

    grams:  uint64[G], sorted hashes.
    items:  int64[G], the item of each.
    places: int64[G], the index of its first word in the item.
    maybe:  bool[2**22], whether any n-gram has these leading bits (a prefilter).
    """

    width: int
    grams: np.ndarray
    items: np.ndarray
    places: np.ndarray
    maybe: np.ndarray


@dataclass(frozen=True, eq=False)
class Wanted:
    """The n-grams of all benchmark items.

    runs:  n-grams by width.
    sizes: int64[K], words of each item inside at least one n-gram. Stop-grams and texts that are too short do not
           count: 0 if an item cannot be matched.
    names: "file:row" of each item.
    """

    runs: tuple[Runs, ...]
    sizes: np.ndarray
    names: tuple[str, ...]


class Hits(NamedTuple):
    """H matched n-grams: the index of the text, of the item, of the first word in the item and in all texts
    concatenated, and the width, int64[H] each; and the hash, uint64[H]."""

    texts: np.ndarray
    items: np.ndarray
    places: np.ndarray
    words: np.ndarray
    widths: np.ndarray
    runs: np.ndarray


class Cover(NamedTuple):
    """Per pair of a text and an item that share n-grams: the fraction of the item's words covered, float64[P]."""

    texts: np.ndarray
    items: np.ndarray
    shares: np.ndarray


def look_for(items: Sequence[Item], width: int, common: int = COMMON) -> Wanted:
    """Index the n-grams of benchmark items. Raises ValueError if no item has enough words to be matched."""
    texts = [text for item in items for text in item.texts]
    of_text = np.repeat(np.arange(len(items)), [len(item.texts) for item in items])
    tokens = plain_words(encode(texts)).tokens
    lengths = np.diff(tokens.bounds)
    widths = np.where(lengths >= width, width, np.where(lengths >= SHORTEST, lengths, 0))
    # Where each text begins in its item, counted in words.
    totals = np.bincount(of_text, weights=lengths, minlength=len(items)).astype(np.int64)
    begins = tokens.bounds[:-1] - np.repeat(np.cumsum(totals) - totals, [len(item.texts) for item in items])
    parts = []
    for one in np.unique(widths[widths > 0]).tolist():
        runs = shingles(tokens, one)
        text = np.repeat(np.arange(len(texts)), np.diff(runs.bounds))
        places = np.arange(len(text)) - runs.bounds[text] + begins[text]
        chosen = widths[text] == one
        parts.append(_runs(one, runs.values[chosen], of_text[text[chosen]], places[chosen], common))
    if not sum(len(part.grams) for part in parts):
        raise ValueError(
            f"none of the {len(items):,} benchmark items can be matched: none has {SHORTEST} words or more that at "
            f"most {common} items share; check `against` and `fields`"
        )
    owners, places = (np.concatenate([getattr(part, name) for part in parts]) for name in ("items", "places"))
    own, words = _union(owners, places, np.repeat([part.width for part in parts], [len(part.grams) for part in parts]))
    sizes = np.zeros(len(items), np.int64)
    sizes[own] = words
    return Wanted(tuple(parts), sizes, tuple(item.name for item in items))


def _runs(width: int, grams: np.ndarray, items: np.ndarray, places: np.ndarray, common: int) -> Runs:
    order = np.lexsort((items, grams))
    grams, items, places = grams[order], items[order], places[order]
    new_gram = np.concatenate([[True], grams[1:] != grams[:-1]])
    new_pair = new_gram | np.concatenate([[True], items[1:] != items[:-1]])
    number = np.cumsum(new_gram) - 1
    few = (np.bincount(number, weights=new_pair) <= common)[number]
    maybe = np.zeros(1 << _FILTER_BITS, bool)
    maybe[grams[few] >> np.uint64(64 - _FILTER_BITS)] = True
    return Runs(width, grams[few], items[few], places[few], maybe)


def find(plain: Plain, wanted: Wanted) -> Hits:
    """Every n-gram of an item that occurs in a text, in the order of the texts."""
    parts = []
    for runs in wanted.runs:
        made = shingles(plain.tokens, runs.width)
        found = np.flatnonzero(runs.maybe[made.values >> np.uint64(64 - _FILTER_BITS)])
        first = np.searchsorted(runs.grams, made.values[found])
        last = np.searchsorted(runs.grams, made.values[found], side="right")
        found, first, last = found[last > first], first[last > first], last[last > first]
        often = last - first
        rows = np.repeat(first, often) + np.arange(often.sum()) - np.repeat(np.cumsum(often) - often, often)
        text = np.repeat(np.searchsorted(made.bounds, found, side="right") - 1, often)
        words = np.repeat(found, often) - made.bounds[text] + plain.tokens.bounds[text]
        # A text shorter than an n-gram is one shingle; it may equal a whole shorter item, which has its own width.
        whole = np.diff(plain.tokens.bounds)[text] >= runs.width
        columns = (text, runs.items[rows], runs.places[rows], words, np.full(len(text), runs.width), runs.grams[rows])
        parts.append([column[whole] for column in columns])
    return Hits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def cover(hits: Hits, wanted: Wanted) -> Cover:
    """N-gram overlap: the fraction of each item that each text covers. A word under several n-grams counts once."""
    pair, words = _union(hits.texts * len(wanted.sizes) + hits.items, hits.places, hits.widths)
    texts, items = pair // len(wanted.sizes), pair % len(wanted.sizes)
    return Cover(texts, items, words / wanted.sizes[items])


def _union(groups: np.ndarray, places: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per group, in order, the number of places covered by its intervals [place, place + width): int64[K] each.

    Example: groups [0, 0, 1], places [0, 2, 5], widths [3, 3, 1] -> groups [0, 1], covered [5, 1].
    """
    order = np.lexsort((places, groups))
    groups, places, ends = groups[order], places[order], (places + widths)[order]
    if not len(groups):
        return groups, groups
    begins = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    # The groups are laid out on one line, each in a segment of its own, so that one running maximum serves all.
    stretch = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(groups)))) * (int(ends.max()) + 1)
    reached = np.maximum.accumulate(ends + stretch)
    before = np.concatenate([[0], reached[:-1]])
    new = ends + stretch - np.maximum(places + stretch, before)
    return groups[begins], np.add.reduceat(np.maximum(new, 0), begins)


def contaminated(texts: Sequence[str], wanted: Wanted, share: float) -> list[tuple[str, float] | None]:
    """Per text (a document, the user turns of a conversation, a prompt) the item that it covers most and the covered
    fraction, if that is more than `share`; else None."""
    return _worst(cover(find(plain_words(encode(list(texts))), wanted), wanted), wanted, len(texts), share)


def _worst(covered: Cover, wanted: Wanted, count: int, share: float) -> list[tuple[str, float] | None]:
    found: list[tuple[str, float] | None] = [None] * count
    for place in np.argsort(covered.shares, kind="stable").tolist():  # the largest of each text is written last
        if covered.shares[place] > share:
            found[covered.texts[place]] = (wanted.names[covered.items[place]], float(covered.shares[place]))
    return found


def hit_rates(texts: Iterator[Sequence[str]], wanted: Wanted, share: float = 0.5) -> dict[str, float]:
    """Per benchmark file, the fraction of items of which some text covers more than `share`. A dataset above SET_LIMIT
    is contaminated. `texts` yields batches."""
    hit = np.zeros(len(wanted.sizes), bool)
    for batch in texts:
        covered = cover(find(plain_words(encode(list(batch))), wanted), wanted)
        hit[covered.items[covered.shares > share]] = True
    files: dict[str, list[bool]] = {}
    for name, one in zip(wanted.names, hit.tolist(), strict=True):
        files.setdefault(name.rpartition(":")[0], []).append(one)
    return {name: sum(ones) / len(ones) for name, ones in files.items()}


def decontaminate(settings: CoverSettings) -> Step:
    """Drop documents that cover too much of a benchmark item (Llama 3, arXiv 2407.21783, section 5.1.4; Tulu 3, arXiv
    2411.15124, section 3.2). Raises ValueError if a benchmark is unreadable or has nothing to match."""
    wanted = look_for(_items(settings.against, settings.fields), settings.width, settings.stop_gram_limit)

    def step(batch: DocumentBatch) -> None:
        covered = cover(find(plain_words(characters_of(batch)), wanted), wanted)
        found = _worst(covered, wanted, len(batch), settings.share)
        gone = [place for place, worst in enumerate(found) if worst is not None]
        details = [f"{worst[1]:.0%} of {worst[0]}" for worst in found if worst is not None]
        batch.drop(gone, "contains a benchmark item", details)

    return step


class _Shared(NamedTuple):
    """The n-grams that one document shares with benchmark items.

    runs:  uint64[R], sorted unique hashes.
    spans: (begin, end, run, item) of each occurrence: character offsets, index in `runs`, index of the item.
    """

    runs: np.ndarray
    spans: list[tuple[int, int, int, int]]


def cut_contamination(settings: CutSettings) -> GlobalStep:
    """Cut benchmark passages out of documents (GPT-3, arXiv 2005.14165, appendix C). ValueError as in
    `decontaminate`."""
    wanted = look_for(_items(settings.against, settings.fields), settings.width, settings.stop_gram_limit)

    def shared(batch: DocumentBatch) -> list[_Shared]:
        return batch.shared(("shared runs", id(wanted)), lambda texts: _shared(texts, wanted))

    def collect(batch: DocumentBatch) -> Columns:
        runs = [document.runs for document in shared(batch)]
        return {"run": np.concatenate([np.empty(0, np.uint64), *runs])}

    def decide(corpus: Corpus) -> dict[str, Any]:
        often = corpus.decisions("often", "run", np.bool_)
        flags = np.zeros(sum(map(len, often)), bool)
        for places, begins in groups(corpus.columns["run"], corpus.memory):
            documents = np.diff(np.flatnonzero(begins), append=len(places))
            flags[places[np.repeat(documents > settings.max_documents, documents)]] = True
        spread(flags, often)
        return {"shared_ngrams": len(flags), "shared_ngrams_too_frequent": int(flags.sum())}

    def apply(batch: DocumentBatch, decisions: Columns) -> None:
        pieces: list[list[str] | None] = []
        dropped: dict[int, tuple[str, str]] = {}
        spared, at = 0, 0
        for place, (document, own) in enumerate(zip(batch.documents, shared(batch), strict=True)):
            often = decisions["often"][at : at + len(own.runs)]
            at += len(own.runs)
            spans = [span for span in own.spans if not often[span[2]]]
            spared += len(spans) < len(own.spans)
            left = _left(document.text, spans, settings.margin, settings.shortest) if spans else None
            pieces.append(left)
            if left is None:
                continue
            named = wanted.names[spans[0][3]]
            if not left:
                dropped[place] = ("nothing but benchmark text", named)
            elif len(left) > settings.max_parts:
                dropped[place] = ("too many benchmark passages", f"{len(left)} parts; {named}")
        batch.note("frequent benchmark n-grams kept", spared)
        batch.drop(list(dropped), [why for why, _ in dropped.values()], [detail for _, detail in dropped.values()])
        batch.split([left for place, left in enumerate(pieces) if place not in dropped], "benchmark passages cut")

    def rows(batch: DocumentBatch) -> dict[str, int]:
        return {"often": sum(len(document.runs) for document in shared(batch))}

    return GlobalStep(collect, decide, rows, apply)


def _shared(texts: list[str], wanted: Wanted) -> list[_Shared]:
    """The n-grams that each text shares with benchmark items."""
    plain = plain_words(encode(texts))
    hits = find(plain, wanted)
    begins = plain.starts[hits.words] - plain.characters.starts[hits.texts]
    ends = plain.stops[hits.words + hits.widths - 1] - plain.characters.starts[hits.texts]
    order = np.argsort(hits.texts, kind="stable")
    bounds = np.searchsorted(hits.texts[order], np.arange(len(texts) + 1))
    found = []
    for place in range(len(texts)):
        own = order[bounds[place] : bounds[place + 1]]
        runs, which = np.unique(hits.runs[own], return_inverse=True)
        spans = zip(begins[own].tolist(), ends[own].tolist(), which.tolist(), hits.items[own].tolist(), strict=True)
        found.append(_Shared(runs, sorted(spans)))
    return found


def _left(text: str, spans: list[tuple[int, int, int, int]], around: int, shortest: int) -> list[str]:
    """The parts of a text outside of the spans and of `around` characters beside each, if they are long enough."""
    pieces, at = [], 0
    for begin, end, *_ in [*spans, (len(text) + around, len(text) + around)]:
        if begin - around - at >= max(shortest, 1):
            pieces.append(text[at : begin - around])
        at = max(at, end + around)
    return pieces


def _items(against: Sequence[str], fields: Sequence[str] | None) -> list[Item]:
    return [item for path in against for item in read_items(local_file(path), fields)]
