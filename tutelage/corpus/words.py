"""Words and lines of a whole batch as columns, split once and shared by all rules.

Two ways to say what a word is. "spaces": what stands between white space, as the papers have it. "tokens": punctuation
and the second halves of contractions ("do", "n't") are words of their own, as in tools that count with a tokenizer for
English; this is close to spaCy's rules and not the same (docs/curation-parity.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.extras import load
from tutelage.corpus.kinds import LETTER, kinds, lowered
from tutelage.corpus.minhash import Hashes

WordKind = Literal["spaces", "tokens"]

# What a line is. "trimmed": what is not blank, without the white space around it. "raw": all between two line feeds
# that is not empty, white space too, as datatrove takes it.
LineKind = Literal["trimmed", "raw"]

_NOT_SYMBOL = 1 << 15  # in the kinds of a word: some character of it is no symbol

# Words after which a full stop closes no sentence.
_ABBREVIATIONS = """Mr Mrs Ms Dr Prof Sr Jr St Mt Gen Gov Sen Rep Rev Lt Col Sgt Capt Adm Maj Messrs Co Corp Inc Ltd
Bros vs v etc e.g i.e e.g. i.e. cf al approx dept est a.m p.m no No Nos Fig fig Vol vol pp ed eds Ave Blvd Rd Jan Feb
Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Ph.D U.S D.C""".split()


def kernels() -> Any:
    """The compiled loops; ValueError, saying what to install, where numba is not there."""
    return load("tutelage.corpus.kernels")


@dataclass(frozen=True, eq=False)
class Characters:
    """N texts end to end: codes uint32[C]; text i is codes[starts[i]:stops[i]], int64[N] each."""

    codes: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        """The number of characters of each text, int64[N]."""
        return self.stops - self.starts

    def take(self, rows: np.ndarray) -> Characters:
        """The texts at some places."""
        return Characters(self.codes, self.starts[rows], self.stops[rows])


@dataclass(frozen=True, eq=False, kw_only=True)
class _Ranges:
    """What N texts are made of, end to end: what text i has is [firsts[i]:lasts[i]], int64[N] each."""

    firsts: np.ndarray
    lasts: np.ndarray

    def __len__(self) -> int:
        return len(self.firsts)

    @property
    def counts(self) -> np.ndarray:
        """How many each text has, int64[N]."""
        return self.lasts - self.firsts

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of a value of each of them over each text, [N]."""
        return range_sums(values, self.firsts, self.lasts)


@dataclass(frozen=True, eq=False)
class Words(_Ranges):
    """The words of N texts.

    lengths: int32[W], in characters.       hashes: uint64[W], upper and lower case apart.
    letters: bool[W], has a letter.         symbols: bool[W], is punctuation and symbols only.
    """

    lengths: np.ndarray
    hashes: np.ndarray
    letters: np.ndarray
    symbols: np.ndarray

    def take(self, rows: np.ndarray) -> Words:
        """The words of the texts at some places."""
        return replace(self, firsts=self.firsts[rows], lasts=self.lasts[rows])


@dataclass(frozen=True, eq=False)
class Lines(_Ranges):
    """The lines of N texts.

    starts, stops: int32[L], in `characters.codes`.  hashes: uint64[L].
    words, longest, sentences: int32[L], words between white space, characters of the longest of them, sentences (of
                    trimmed lines; 0 of raw ones).
    apart: bool[L], whether a blank line stands before it, or it is its text's first: a paragraph begins.
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
        """The characters of each line, int32[L]."""
        return self.stops - self.starts

    def last(self, back: int) -> np.ndarray:
        """The character that stands `back` places from the end of each line, 1 the last, uint32[L]; 0 where the line is
        shorter than that."""
        found = np.zeros(len(self.stops), np.uint32)
        long = self.lengths >= back
        found[long] = self.characters.codes[self.stops[long] - back]
        return found

    @property
    def end_in_dots(self) -> np.ndarray:
        """Whether each line ends in three dots, bool[L]."""
        return np.all([self.last(back) == ord(".") for back in (1, 2, 3)], axis=0)

    def take(self, rows: np.ndarray) -> Lines:
        """The lines of the texts at some places."""
        characters = self.characters.take(rows)
        return replace(self, characters=characters, firsts=self.firsts[rows], lasts=self.lasts[rows])


class Plain(NamedTuple):
    """The words of N texts to compare by: `tokens` as in minhash, and of each word its place in `characters.codes`."""

    characters: Characters
    tokens: Hashes
    starts: np.ndarray
    stops: np.ndarray


def range_sums(values: np.ndarray, firsts: np.ndarray, lasts: np.ndarray) -> np.ndarray:
    """The sums of values[first:last] for each range; int64 for whole numbers and truth values, else float64."""
    wide = np.int64 if values.dtype.kind in "bui" else np.float64
    sums = np.zeros(len(values) + 1, wide)
    np.cumsum(values, out=sums[1:], dtype=wide)
    return sums[lasts] - sums[firsts]


def encode(texts: list[str]) -> Characters:
    """Texts as one array of characters."""
    stops = np.cumsum([len(text) for text in texts], dtype=np.int64)
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    if len(codes) >= 1 << 31:
        raise ValueError(f"a batch of {len(codes):,} characters is too much at once; take fewer documents in a batch")
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


def split_lines(characters: Characters, kind: LineKind = "trimmed") -> Lines:
    """The lines of texts."""
    arguments = (characters.codes, kinds(), characters.starts, characters.stops)
    *found, firsts, lasts = kernels().split_lines(*arguments, kind == "trimmed", _abbreviations())
    return Lines(characters, *found, firsts=firsts, lasts=lasts)


def plain_words(characters: Characters) -> Plain:
    """The words of texts without regard to case and punctuation."""
    found = kernels().split_plain(characters.codes, kinds(), lowered(), characters.starts, characters.stops)
    starts, stops, hashes, counts = found
    return Plain(characters, Hashes(hashes, np.concatenate([[0], np.cumsum(counts)])), starts, stops)


def plain_tokens(characters: Characters) -> Hashes:
    """`plain_words` without where they stand."""
    return plain_words(characters).tokens


def characters_of(batch: DocumentBatch) -> Characters:
    """The characters of a batch, made once."""
    return batch.shared("characters", encode)


def words_of(batch: DocumentBatch, kind: WordKind) -> Words:
    """The words of a batch, split once."""
    return batch.shared(("words", kind), lambda _: split_words(characters_of(batch), kind))


def lines_of(batch: DocumentBatch, kind: LineKind = "trimmed") -> Lines:
    """The lines of a batch, split once."""
    return batch.shared(("lines", kind), lambda _: split_lines(characters_of(batch), kind))


def word_hashes(words: Iterable[str]) -> np.ndarray:
    """The hashes that words have in `Words.hashes`, sorted: uint64."""
    codes = [np.array([ord(character) for character in word], np.uint32) for word in words]
    return np.sort(np.array([kernels().hash_run(one, 0, len(one)) for one in codes], np.uint64))


@cache
def _abbreviations() -> np.ndarray:
    return word_hashes(_ABBREVIATIONS)
