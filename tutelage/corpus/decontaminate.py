"""Text that a model is to be examined with, found in what it is to be trained on, and taken out.

Three published ways: GPT-3 cuts every passage that shares 13 words with an examination (arXiv 2005.14165, appendix C);
Llama 3 looks at how much of an examined item shared runs of 8 words cover (arXiv 2407.21783, section 5.1.4); Tulu 3
drops a training instance that covers more than half of an item in this way, and calls a set contaminated where it does
so to more than 2% of an examination (arXiv 2411.15124, section 3.2). Words are compared without regard to case and
punctuation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tutelage.config import Settings, SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.corpus_step import Columns, Corpus, CorpusStep
from tutelage.corpus.examination import Item, read_items
from tutelage.corpus.fetch import local_file
from tutelage.corpus.minhash import shingles
from tutelage.corpus.overlap import COMMON, SHORTEST
from tutelage.corpus.repeats import groups, spread
from tutelage.corpus.words import Plain, characters_of, encode, plain_words

SET_LIMIT = 0.02  # a set that hits more of an examination than this is contaminated (Tulu 3)
_FILTER_BITS = 22


class CutSettings(Settings, tag="decontaminate_gpt3", tag_field="kind", frozen=True, kw_only=True):
    """As GPT-3 was made: passages shared with an examination are cut out of documents, together with what stands around
    them; pieces that are left stay, as documents of their own.

    against:  files of examinations: JSON lines, JSON, CSV, Parquet or text; .gz and .zst too; local, or at an address
              that fsspec opens.
    fields:   which fields of a row are the item; all that hold text where left out.
    width:    words of a shared run. Items with fewer are looked for whole, and not at all below 8 words.
    common:   a run that more items than this have is the form of the questions, and is not looked for.
    often:    a shared run that more documents of the corpus than this have is a common phrase or the small print, and
              stays.
    around:   characters cut before and after a shared run.
    shortest: a piece of fewer characters is not kept.
    pieces:   a document of more pieces than this is dropped.
    """

    against: tuple[str, ...]
    fields: tuple[str, ...] | None = None
    width: int = 13
    common: int = COMMON
    often: int = 10
    around: int = 200
    shortest: int = 200
    pieces: int = 10

    def __post_init__(self) -> None:
        _check(self.against, self.width)


class CoverSettings(Settings, frozen=True, kw_only=True):
    """Documents are dropped that cover more than `share` of the words of an examined item with runs of `width` words
    that both have; words of it that no run to look for has do not count. `against`, `fields` and `common` as in
    `CutSettings`."""

    against: tuple[str, ...]
    fields: tuple[str, ...] | None = None
    width: int = 8
    common: int = COMMON
    share: float

    def __post_init__(self) -> None:
        _check(self.against, self.width)
        if not 0 <= self.share < 1:
            raise SettingsError(f"share is {self.share}; it is a share of an item's words: at least 0, below 1")


class Llama3Settings(CoverSettings, tag="decontaminate_llama3", tag_field="kind", frozen=True, kw_only=True):
    """As Llama 3 judged items; it chose a share for each examination, so give one."""


class Tulu3Settings(CoverSettings, tag="decontaminate_tulu3", tag_field="kind", frozen=True, kw_only=True):
    """As Tulu 3 was made: more than half of an item."""

    share: float = 0.5


def _check(against: Sequence[str], width: int) -> None:
    if not against:
        raise SettingsError("against is empty; name at least one file of an examination")
    if width < SHORTEST:
        raise SettingsError(f"width is {width}; runs of fewer than {SHORTEST} words stand in too many texts")


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of one width to look for.

    grams:  uint64[G], sorted.      items:  int64[G], the item that each is of.
    places: int64[G], the word of the item that it begins with.
    maybe:  bool[2**22], whether a run with these first bits is among them.
    """

    width: int
    grams: np.ndarray
    items: np.ndarray
    places: np.ndarray
    maybe: np.ndarray


@dataclass(frozen=True, eq=False)
class Wanted:
    """What to look for.

    runs:  of the words of examined items, by their widths.
    sizes: int64[K], how many words of each item stand in such a run. The words that it shares with too many items, and
           texts of it that are too short, are not among them: 0 where nothing can be looked for.
    names: where each item stands.
    """

    runs: tuple[Runs, ...]
    sizes: np.ndarray
    names: tuple[str, ...]


class Hits(NamedTuple):
    """Runs of H items found in texts, each as: the text, the item, the run's first word in the item and in all texts,
    its width, int64[H] each, and its hash, uint64[H]."""

    texts: np.ndarray
    items: np.ndarray
    places: np.ndarray
    words: np.ndarray
    widths: np.ndarray
    runs: np.ndarray


class Cover(NamedTuple):
    """Of each pair of a text and an item that share runs: the share of the item's words that they cover, float64[P]."""

    texts: np.ndarray
    items: np.ndarray
    shares: np.ndarray


def look_for(items: Sequence[Item], width: int, common: int = COMMON) -> Wanted:
    """What to look for to find items. ValueError where no item has enough words, so that nothing could be found."""
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
            f"nothing can be looked for: none of {len(items):,} examined items has {SHORTEST} words or more that are "
            f"not in more than {common} of them; see `against` and `fields`"
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
    """Every run of an item that a text has, in the order of the texts."""
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
        # A text shorter than a run is one shingle, which may be a shorter item whole, and is then of that width.
        whole = np.diff(plain.tokens.bounds)[text] >= runs.width
        columns = (text, runs.items[rows], runs.places[rows], words, np.full(len(text), runs.width), runs.grams[rows])
        parts.append([column[whole] for column in columns])
    return Hits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def cover(hits: Hits, wanted: Wanted) -> Cover:
    """How much of each item each text has; a word under several shared runs counts once."""
    pair, words = _union(hits.texts * len(wanted.sizes) + hits.items, hits.places, hits.widths)
    texts, items = pair // len(wanted.sizes), pair % len(wanted.sizes)
    return Cover(texts, items, words / wanted.sizes[items])


def _union(groups: np.ndarray, places: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each group, in order, how many places lie under its runs of some widths: int64[K] each."""
    order = np.lexsort((places, groups))
    groups, places, ends = groups[order], places[order], (places + widths)[order]
    if not len(groups):
        return groups, groups
    begins = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    # What is covered up to each run, in a line where every group has a stretch of its own.
    stretch = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(groups)))) * (int(ends.max()) + 1)
    reached = np.maximum.accumulate(ends + stretch)
    before = np.concatenate([[0], reached[:-1]])
    new = ends + stretch - np.maximum(places + stretch, before)
    return groups[begins], np.add.reduceat(np.maximum(new, 0), begins)


def contaminated(texts: Sequence[str], wanted: Wanted, share: float) -> list[tuple[str, float] | None]:
    """Of each text (a document, the user's turns of a conversation, a prompt) the item of which it has most, and how
    much, where that is more than `share`; None elsewhere."""
    return _worst(cover(find(plain_words(encode(list(texts))), wanted), wanted), wanted, len(texts), share)


def _worst(covered: Cover, wanted: Wanted, count: int, share: float) -> list[tuple[str, float] | None]:
    found: list[tuple[str, float] | None] = [None] * count
    for place in np.argsort(covered.shares, kind="stable").tolist():  # the largest of each text is written last
        if covered.shares[place] > share:
            found[covered.texts[place]] = (wanted.names[covered.items[place]], float(covered.shares[place]))
    return found


def hit_rates(texts: Iterator[Sequence[str]], wanted: Wanted, share: float = 0.5) -> dict[str, float]:
    """Of each file of examinations the share of items of which some text has more than `share`; a set with more than
    SET_LIMIT is contaminated. The texts come in batches."""
    hit = np.zeros(len(wanted.sizes), bool)
    for batch in texts:
        covered = cover(find(plain_words(encode(list(batch))), wanted), wanted)
        hit[covered.items[covered.shares > share]] = True
    files: dict[str, list[bool]] = {}
    for name, one in zip(wanted.names, hit.tolist(), strict=True):
        files.setdefault(name.rpartition(":")[0], []).append(one)
    return {name: sum(ones) / len(ones) for name, ones in files.items()}


def decontaminate(settings: CoverSettings) -> Step:
    """The step of these settings; ValueError where an examination cannot be read or has nothing to look for."""
    wanted = look_for(_items(settings.against, settings.fields), settings.width, settings.common)

    def step(batch: DocumentBatch) -> None:
        covered = cover(find(plain_words(characters_of(batch)), wanted), wanted)
        found = _worst(covered, wanted, len(batch), settings.share)
        gone = [place for place, one in enumerate(found) if one is not None]
        details = [f"{one[1]:.0%} of {one[0]}" for one in found if one is not None]
        batch.drop(gone, "has an examined item", details)

    return step


class _Shared(NamedTuple):
    """The runs that one document shares with examined items.

    runs:   uint64[R], the hash of each of them once, sorted.
    spans:  (begin, end, run, item) of each place where one stands: characters, its place in `runs`, the item's number.
    """

    runs: np.ndarray
    spans: list[tuple[int, int, int, int]]


def cut_contamination(settings: CutSettings) -> CorpusStep:
    """The step of these settings; ValueError as in `decontaminate`."""
    wanted = look_for(_items(settings.against, settings.fields), settings.width, settings.common)

    def shared(batch: DocumentBatch) -> list[_Shared]:
        return batch.shared(("shared runs", id(wanted)), lambda texts: _shared(texts, wanted))

    def collect(batch: DocumentBatch) -> Columns:
        found = [one.runs for one in shared(batch)]
        return {"run": np.concatenate([np.empty(0, np.uint64), *found])}

    def decide(corpus: Corpus) -> dict[str, Any]:
        often = corpus.verdicts("often", "run", np.bool_)
        flags = np.zeros(sum(map(len, often)), bool)
        for places, begins in groups(corpus.columns["run"], corpus.memory):
            documents = np.diff(np.flatnonzero(begins), append=len(places))
            flags[places[np.repeat(documents > settings.often, documents)]] = True
        spread(flags, often)
        return {"runs shared": len(flags), "runs in too many documents": int(flags.sum())}

    def apply(batch: DocumentBatch, verdict: Columns) -> None:
        pieces: list[list[str] | None] = []
        dropped: dict[int, tuple[str, str]] = {}
        spared, at = 0, 0
        for place, (document, own) in enumerate(zip(batch.documents, shared(batch), strict=True)):
            often = verdict["often"][at : at + len(own.runs)]
            at += len(own.runs)
            spans = [span for span in own.spans if not often[span[2]]]
            spared += len(spans) < len(own.spans)
            left = _left(document.text, spans, settings.around, settings.shortest) if spans else None
            pieces.append(left)
            if left is None:
                continue
            named = wanted.names[spans[0][3]]
            if not left:
                dropped[place] = ("nothing left beside examined text", named)
            elif len(left) > settings.pieces:
                dropped[place] = ("examined text all over", f"{len(left)} pieces; {named}")
        batch.note("phrases of examined text that many documents have, kept", spared)
        batch.drop(list(dropped), [why for why, _ in dropped.values()], [detail for _, detail in dropped.values()])
        batch.split([left for place, left in enumerate(pieces) if place not in dropped], "examined text cut")

    def rows(batch: DocumentBatch) -> dict[str, int]:
        return {"often": sum(len(one.runs) for one in shared(batch))}

    return CorpusStep(collect, decide, rows, apply)


def _shared(texts: list[str], wanted: Wanted) -> list[_Shared]:
    """What each text shares with examined items."""
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
    """What is left of a text without spans of it, and so many characters around each, in pieces long enough."""
    pieces, at = [], 0
    for begin, end, *_ in [*spans, (len(text) + around, len(text) + around)]:
        if begin - around - at >= max(shortest, 1):
            pieces.append(text[at : begin - around])
        at = max(at, end + around)
    return pieces


def _items(against: Sequence[str], fields: Sequence[str] | None) -> list[Item]:
    return [item for path in against for item in read_items(local_file(path), fields)]
