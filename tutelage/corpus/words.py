"""Words and lines of a batch as columns, split once and shared by all filters.

Two definitions of a word. "spaces": separated by white space, as in the papers. "tokens": punctuation marks and the
second halves of contractions ("do", "n't") are separate words, as in tools that count with an English tokenizer; close
to spaCy's rules, but not equal (docs/curation-parity.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.kinds import LETTER, kinds, lowered
from tutelage.corpus.minhash import Hashes
from tutelage.extras import load

WordKind = Literal["spaces", "tokens"]

# Two definitions of a line. "trimmed": non-blank, without surrounding white space. "raw": non-empty text between two
# line feeds, with its white space, as in datatrove.
LineMode = Literal["trimmed", "raw"]

_NOT_SYMBOL = 1 << 15  # in the classes of a word: at least one character is not a symbol

# Words after which a full stop does not end a sentence.
_ABBREVIATIONS = """Mr Mrs Ms Dr Prof Sr Jr St Mt Gen Gov Sen Rep Rev Lt Col Sgt Capt Adm Maj Messrs Co Corp Inc Ltd
Bros vs v etc e.g i.e e.g. i.e. cf al approx dept est a.m p.m no No Nos Fig fig Vol vol pp ed eds Ave Blvd Rd Jan Feb
Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Ph.D U.S D.C""".split()


def kernels() -> Any:
    """The compiled loops. Raises ValueError, with what to install, without numba."""
    return load("tutelage.corpus.kernels")


@dataclass(frozen=True, eq=False)
class Characters:
    """N texts concatenated. codes: uint32[C]; starts, stops: int64[N]; text i is codes[starts[i]:stops[i]]."""

    codes: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        """Characters per text, int64[N]."""
        return self.stops - self.starts

    def take(self, rows: np.ndarray) -> Characters:
        """The texts at these indices."""
        return Characters(self.codes, self.starts[rows], self.stops[rows])


@dataclass(frozen=True, eq=False, kw_only=True)
class _Ranges:
    """Items (words or lines) of N texts, concatenated: those of text i are [firsts[i]:lasts[i]], int64[N] each."""

    firsts: np.ndarray
    lasts: np.ndarray

    def __len__(self) -> int:
        return len(self.firsts)

    @property
    def counts(self) -> np.ndarray:
        """Items per text, int64[N]."""
        return self.lasts - self.firsts

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over each text of one value per item, [N]."""
        return range_sums(values, self.firsts, self.lasts)


@dataclass(frozen=True, eq=False)
class Words(_Ranges):
    """The words of N texts.

    lengths: int32[W], in characters.
    hashes:  uint64[W], case-sensitive.
    letters: bool[W], has a letter.
    symbols: bool[W], consists of punctuation and symbols only.
    """

    lengths: np.ndarray
    hashes: np.ndarray
    letters: np.ndarray
    symbols: np.ndarray

    def take(self, rows: np.ndarray) -> Words:
        """The words of the texts at these indices."""
        return replace(self, firsts=self.firsts[rows], lasts=self.lasts[rows])


@dataclass(frozen=True, eq=False)
class Lines(_Ranges):
    """The lines of N texts.

    starts, stops: int32[L], in `characters.codes`.
    hashes:    uint64[L].
    words:     int32[L], space-separated words.
    longest:   int32[L], characters of the longest word.
    sentences: int32[L]; 0 for raw lines.
    apart:     bool[L], whether the line begins a paragraph: a blank line precedes it, or it is the first of its text.
    """

    characters: Characters
    starts: np.ndarray
    stops: np.ndarray
    hashes: np.ndarray
    words: np.ndarray
    longest: np.ndarray
    sentences: np.ndarray
    apart: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Characters per line, int32[L]."""
        return self.stops - self.starts

    def last(self, back: int) -> np.ndarray:
        """The character `back` positions from the end of each line (1: the last), uint32[L]; 0 if the line is
        shorter."""
        found = np.zeros(len(self.stops), np.uint32)
        long = self.lengths >= back
        found[long] = self.characters.codes[self.stops[long] - back]
        return found

    @property
    def end_in_dots(self) -> np.ndarray:
        """Whether each line ends with three dots, bool[L]."""
        return np.all([self.last(back) == ord(".") for back in (1, 2, 3)], axis=0)

    def take(self, rows: np.ndarray) -> Lines:
        """The lines of the texts at these indices."""
        characters = self.characters.take(rows)
        return replace(self, characters=characters, firsts=self.firsts[rows], lasts=self.lasts[rows])


class Plain(NamedTuple):
    """Normalised words of N texts: `tokens` as in minhash, and the offsets of each word in `characters.codes`."""

    characters: Characters
    tokens: Hashes
    starts: np.ndarray
    stops: np.ndarray


def range_sums(values: np.ndarray, firsts: np.ndarray, lasts: np.ndarray) -> np.ndarray:
    """The sums of values[first:last] per range; int64 for integers and booleans, else float64."""
    wide = np.int64 if values.dtype.kind in "bui" else np.float64
    sums = np.zeros(len(values) + 1, wide)
    np.cumsum(values, out=sums[1:], dtype=wide)
    return sums[lasts] - sums[firsts]


def encode(texts: list[str]) -> Characters:
    """Texts as one array of code points."""
    stops = np.cumsum([len(text) for text in texts], dtype=np.int64)
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    if len(codes) >= 1 << 31:
        raise ValueError(f"a batch of {len(codes):,} characters is too large; use fewer documents per batch")
    return Characters(codes, np.concatenate([[0], stops])[:-1].astype(np.int64), stops)


def split_words(characters: Characters, kind: WordKind) -> Words:
    """The words of texts."""
    arguments = (characters.codes, kinds(), characters.starts, characters.stops)
    if kind == "spaces":
        starts, stops, hashes, found, firsts, lasts = kernels().split_spaced(*arguments)
    else:
        starts, stops, hashes, found, firsts, lasts = kernels().split_tokens(*arguments, _abbreviations())
    letters, symbols = (found & LETTER) != 0, (found & _NOT_SYMBOL) == 0
    return Words(stops - starts, hashes, letters, symbols, firsts=firsts, lasts=lasts)


def split_lines(characters: Characters, kind: LineMode = "trimmed") -> Lines:
    """The lines of texts."""
    arguments = (characters.codes, kinds(), characters.starts, characters.stops)
    *found, firsts, lasts = kernels().split_lines(*arguments, kind == "trimmed", _abbreviations())
    return Lines(characters, *found, firsts=firsts, lasts=lasts)


def plain_words(characters: Characters) -> Plain:
    """The words of texts, normalised: without case and punctuation."""
    found = kernels().split_plain(characters.codes, kinds(), lowered(), characters.starts, characters.stops)
    starts, stops, hashes, counts = found
    return Plain(characters, Hashes(hashes, np.concatenate([[0], np.cumsum(counts)])), starts, stops)


def plain_tokens(characters: Characters) -> Hashes:
    """The hashes of `plain_words`, without offsets."""
    return plain_words(characters).tokens


def characters_of(batch: DocumentBatch) -> Characters:
    """The characters of a batch, computed once."""
    return batch.shared("characters", encode)


def words_of(batch: DocumentBatch, kind: WordKind) -> Words:
    """The words of a batch, split once."""
    return batch.shared(("words", kind), lambda _: split_words(characters_of(batch), kind))


def lines_of(batch: DocumentBatch, kind: LineMode = "trimmed") -> Lines:
    """The lines of a batch, split once."""
    return batch.shared(("lines", kind), lambda _: split_lines(characters_of(batch), kind))


def word_hashes(words: Iterable[str]) -> np.ndarray:
    """The hashes of words as in `Words.hashes`, sorted: uint64."""
    codes = [np.array([ord(character) for character in word], np.uint32) for word in words]
    return np.sort(np.array([kernels().hash_run(word, 0, len(word)) for word in codes], np.uint64))


@cache
def _abbreviations() -> np.ndarray:
    return word_hashes(_ABBREVIATIONS)
