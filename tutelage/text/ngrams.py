"""N-grams of words, and the search for benchmark items in texts by the n-grams that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tutelage.text.characters import PLAIN
from tutelage.text.hashing import GOLDEN, splitmix64
from tutelage.text.ngram_kernels import hash_ngrams
from tutelage.text.words import Hashes, hash_words

SHORTEST = 8  # words; shorter texts ("what is the capital of it?") occur too often to be evidence
STOP_GRAM_LIMIT = 10  # an n-gram of more items than this is boilerplate of the benchmark, and is ignored
_FILTER_BITS = 22


def ngrams(words: Hashes, width: int) -> Hashes:
    """The hash of every run of `width` words of each text. A shorter text is one n-gram; an empty one has none."""
    return Hashes(*hash_ngrams(words.values, words.bounds, width))


def text_hashes(words: Hashes) -> np.ndarray:
    """One hash per text over its words in order, uint64[N]."""
    hashes = np.full(len(words.bounds) - 1, splitmix64(np.array([GOLDEN]))[0])
    hashes[np.diff(words.bounds) > 0] = ngrams(words, max(len(words.values), 1)).values
    return hashes


@dataclass(frozen=True, eq=False)
class NgramTable:
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
class ItemIndex:
    """The n-grams of all benchmark items.

    tables: n-grams by width.
    sizes:  int64[K], words of each item inside at least one n-gram. Stop-grams and texts that are too short do not
            count: 0 if an item cannot be matched.
    """

    tables: tuple[NgramTable, ...]
    sizes: np.ndarray


class Hits(NamedTuple):
    """H matched n-grams: the index of the text, of the item, of the first word in the item and in all texts
    concatenated, and the width, int64[H] each; and the hash, uint64[H]."""

    texts: np.ndarray
    items: np.ndarray
    places: np.ndarray
    words: np.ndarray
    widths: np.ndarray
    grams: np.ndarray


class Coverage(NamedTuple):
    """Per pair of a text and an item that share n-grams: the fraction of the item's words covered, float64[P]."""

    texts: np.ndarray
    items: np.ndarray
    shares: np.ndarray


def index_items(
    items: Sequence[Sequence[str]], width: int, stop_gram_limit: int = STOP_GRAM_LIMIT, form: int = PLAIN
) -> ItemIndex:
    """Index the n-grams of benchmark items, given by their texts, in a form of `normalized_words`. A text of fewer than
    `width` words is matched as a whole. Raises ValueError if no item has enough words to be matched."""
    texts = [text for item in items for text in item]
    of_text = np.repeat(np.arange(len(items)), [len(item) for item in items])
    words = hash_words(texts, form)
    lengths = np.diff(words.bounds)
    widths = np.where(lengths >= width, width, np.where(lengths >= SHORTEST, lengths, 0))
    # Where each text begins in its item, counted in words.
    totals = np.bincount(of_text, weights=lengths, minlength=len(items)).astype(np.int64)
    begins = words.bounds[:-1] - np.repeat(np.cumsum(totals) - totals, [len(item) for item in items])
    tables = []
    for table_width in np.unique(widths[widths > 0]).tolist():
        grams = ngrams(words, table_width)
        text = np.repeat(np.arange(len(texts)), np.diff(grams.bounds))
        places = np.arange(len(text)) - grams.bounds[text] + begins[text]
        chosen = widths[text] == table_width
        owners = of_text[text[chosen]]
        tables.append(_table(table_width, grams.values[chosen], owners, places[chosen], stop_gram_limit))
    if not sum(len(table.grams) for table in tables):
        raise ValueError(
            f"none of the {len(items):,} benchmark items can be matched: none has {SHORTEST} words or more that at "
            f"most {stop_gram_limit} items share; check `against` and `fields`"
        )
    owners, places = (np.concatenate([getattr(table, name) for table in tables]) for name in ("items", "places"))
    repeats = [len(table.grams) for table in tables]
    matchable, covered = _covered(owners, places, np.repeat([table.width for table in tables], repeats))
    sizes = np.zeros(len(items), np.int64)
    sizes[matchable] = covered
    return ItemIndex(tuple(tables), sizes)


def _table(width: int, grams: np.ndarray, items: np.ndarray, places: np.ndarray, stop_gram_limit: int) -> NgramTable:
    order = np.lexsort((items, grams))
    grams, items, places = grams[order], items[order], places[order]
    new_gram = np.concatenate([[True], grams[1:] != grams[:-1]])
    new_pair = new_gram | np.concatenate([[True], items[1:] != items[:-1]])
    number = np.cumsum(new_gram) - 1
    few = (np.bincount(number, weights=new_pair) <= stop_gram_limit)[number]
    maybe = np.zeros(1 << _FILTER_BITS, bool)
    maybe[grams[few] >> np.uint64(64 - _FILTER_BITS)] = True
    return NgramTable(width, grams[few], items[few], places[few], maybe)


def find_items(words: Hashes, index: ItemIndex) -> Hits:
    """Every n-gram of an item that occurs in a text, in the order of the texts. `words`: normalised, in the form of the
    index."""
    parts = []
    for table in index.tables:
        made = ngrams(words, table.width)
        found = np.flatnonzero(table.maybe[made.values >> np.uint64(64 - _FILTER_BITS)])
        first = np.searchsorted(table.grams, made.values[found])
        last = np.searchsorted(table.grams, made.values[found], side="right")
        found, first, last = found[last > first], first[last > first], last[last > first]
        often = last - first
        rows = np.repeat(first, often) + np.arange(often.sum()) - np.repeat(np.cumsum(often) - often, often)
        text = np.repeat(np.searchsorted(made.bounds, found, side="right") - 1, often)
        begins = np.repeat(found, often) - made.bounds[text] + words.bounds[text]
        # A text shorter than an n-gram is one n-gram; it may equal a whole shorter item, which has its own width.
        long = np.diff(words.bounds)[text] >= table.width
        widths = np.full(len(text), table.width)
        columns = (text, table.items[rows], table.places[rows], begins, widths, table.grams[rows])
        parts.append([column[long] for column in columns])
    return Hits(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def coverage(hits: Hits, index: ItemIndex) -> Coverage:
    """The fraction of each item that each text covers. A word under several n-grams counts once."""
    pair, words = _covered(hits.texts * len(index.sizes) + hits.items, hits.places, hits.widths)
    texts, items = pair // len(index.sizes), pair % len(index.sizes)
    return Coverage(texts, items, words / index.sizes[items])


def most_covered(words: Hashes, index: ItemIndex) -> tuple[np.ndarray, np.ndarray]:
    """Per text (a document, the user turns of a conversation, a prompt) the largest fraction of an item that it covers,
    float64[N], and the index of that item, int64[N]; 0 and -1 if nothing is shared."""
    covered = coverage(find_items(words, index), index)
    shares, items = np.zeros(len(words.bounds) - 1), np.full(len(words.bounds) - 1, -1, np.int64)
    order = np.argsort(covered.shares, kind="stable")  # the largest of each text is written last
    shares[covered.texts[order]], items[covered.texts[order]] = covered.shares[order], covered.items[order]
    return shares, items


def _covered(groups: np.ndarray, places: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per group, in order, the number of places covered by its intervals [place, place + width): int64[K] each.

    Example: groups [0, 0, 1], places [0, 2, 5], widths [3, 3, 1] -> groups [0, 1], covered [5, 1].
    """
    order = np.lexsort((places, groups))
    groups, places, ends = groups[order], places[order], (places + widths)[order]
    if not len(groups):
        return groups, groups
    begins = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    # The groups are laid out on one line, each in a segment of its own, so that one running maximum serves all.
    segment = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(groups)))) * (int(ends.max()) + 1)
    reached = np.maximum.accumulate(ends + segment)
    before = np.concatenate([[0], reached[:-1]])
    new = ends + segment - np.maximum(places + segment, before)
    return groups[begins], np.add.reduceat(np.maximum(new, 0), begins)
