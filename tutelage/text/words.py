"""Words and lines of texts. Three notions of a word:

"spaces":   separated by white space, as in the papers; each letter of a script without spaces is a word.
"tokens":   punctuation marks and the second halves of contractions ("do", "n't") are separate words, as in tools that
            count with an English tokenizer; close to spaCy's rules, but not equal (docs/curation-parity.md).
normalized: for comparing texts: without case. In the form PLAIN punctuation is left out, with MARKS every mark is a
            word, and FOLDED words are without accents too, every digit is 0 (FineWeb's MinHash).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from tutelage.text import kernels, line_kernels
from tutelage.text.characters import LETTER, MARKS, PLAIN, UNSPACED, character_classes, normal_form

WordKind = Literal["spaces", "tokens"]

# Two definitions of a line. "trimmed": non-blank, without surrounding white space. "raw": non-empty text between two
# line feeds, with its white space, as in datatrove.
LineMode = Literal["trimmed", "raw"]

_AT_ONCE = 256  # texts
_NOT_SYMBOL = 1 << 15  # in the classes of a word: at least one character is not a symbol

# Words after which a full stop does not end a sentence.
_ABBREVIATIONS = """Mr Mrs Ms Dr Prof Sr Jr St Mt Gen Gov Sen Rep Rev Lt Col Sgt Capt Adm Maj Messrs Co Corp Inc Ltd
Bros vs v etc e.g i.e e.g. i.e. cf al approx dept est a.m p.m no No Nos Fig fig Vol vol pp ed eds Ave Blvd Rd Jan Feb
Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Ph.D U.S D.C""".split()


_DIGIT, _PUNCTUATION, _NO_LETTERS = re.compile(r"\d"), re.compile(r"[^\w\s]|_"), re.compile(r"[\W_]+")


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

    starts:  int32[W], in the concatenated characters.
    lengths: int32[W], in characters.
    hashes:  uint64[W], case-sensitive.
    letters: bool[W], has a letter.
    symbols: bool[W], consists of punctuation and symbols only.
    unspaced: bool[W], of a script without spaces, where each letter is a word.
    """

    starts: np.ndarray
    lengths: np.ndarray
    hashes: np.ndarray
    letters: np.ndarray
    symbols: np.ndarray
    unspaced: np.ndarray

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


class Hashes(NamedTuple):
    """Hashes of the words or n-grams of N texts, concatenated. values: uint64[S]; bounds: int64[N + 1]; those of text i
    are values[bounds[i]:bounds[i+1]]."""

    values: np.ndarray
    bounds: np.ndarray


class NormalizedWords(NamedTuple):
    """Normalised words of N texts: their hashes, and the start and stop of each in `characters.codes`, int32[W, 2]."""

    characters: Characters
    hashes: Hashes
    spans: np.ndarray


def range_sums(values: np.ndarray, firsts: np.ndarray, lasts: np.ndarray) -> np.ndarray:
    """The sums of values[first:last] per range; int64 for integers and booleans, else float64."""
    wide = np.int64 if values.dtype.kind in "bui" else np.float64
    sums = np.zeros(len(values) + 1, wide)
    np.cumsum(values, out=sums[1:], dtype=wide)
    return sums[lasts] - sums[firsts]


def encode(texts: Sequence[str]) -> Characters:
    """Texts as one array of code points."""
    stops = np.cumsum([len(text) for text in texts], dtype=np.int64)
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    if len(codes) >= 1 << 31:
        raise ValueError(f"a batch of {len(codes):,} characters is too large; use fewer documents per batch")
    return Characters(codes, np.concatenate([[0], stops])[:-1].astype(np.int64), stops)


def split_words(characters: Characters, kind: WordKind) -> Words:
    """The words of texts."""
    starts, stops, hashes, unions, firsts, lasts = kernels.split_words(
        characters.codes, character_classes(), characters.starts, characters.stops, kind == "tokens", _abbreviations()
    )
    letters, symbols = (unions & LETTER) != 0, (unions & _NOT_SYMBOL) == 0
    unspaced = letters & ((unions & UNSPACED) != 0)
    return Words(starts, stops - starts, hashes, letters, symbols, unspaced, firsts=firsts, lasts=lasts)


def split_lines(characters: Characters, kind: LineMode = "trimmed") -> Lines:
    """The lines of texts."""
    arguments = (characters.codes, character_classes(), characters.starts, characters.stops)
    *found, firsts, lasts = line_kernels.split_lines(*arguments, kind == "trimmed", _abbreviations())
    return Lines(characters, *found, firsts=firsts, lasts=lasts)


def normalized_words(characters: Characters, form: int = PLAIN, placed: bool = False) -> NormalizedWords:
    """The normalised words of texts, in one of the forms PLAIN, MARKS and FOLDED; with their places if `placed`."""
    spans, hashes, counts = kernels.split_normalized(
        characters.codes, characters.starts, characters.stops, *normal_form(form), form, placed
    )
    return NormalizedWords(characters, Hashes(hashes, np.concatenate([[0], np.cumsum(counts)])), spans)


def hash_words(texts: Sequence[str], form: int = PLAIN) -> Hashes:
    """The hashes of `normalized_words`, of any number of texts: few at a time are held as code points. With MARKS,
    lower case is that of `str.lower`, which knows context."""
    values, counts = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
    for start in range(0, len(texts), _AT_ONCE):
        part = texts[start : start + _AT_ONCE]
        hashes = normalized_words(encode([text.lower() for text in part] if form == MARKS else part), form).hashes
        values.append(hashes.values)
        counts.append(np.diff(hashes.bounds))
    return Hashes(np.concatenate(values), np.cumsum(np.concatenate(counts)))


def normalized_line(line: str, digits: bool = False) -> str:
    """A line without case and punctuation, every digit as 0 unless `digits` (CCNet, arXiv 1911.00359, section 3.1)."""
    return _PUNCTUATION.sub("", line.lower() if digits else _DIGIT.sub("0", line.lower())).strip()


def normalized_text(text: str) -> str:
    """The lower-cased letters and digits of a text; a space for all else."""
    return _NO_LETTERS.sub(" ", text).strip().lower()


def word_hashes(words: Iterable[str]) -> np.ndarray:
    """The hashes of words as in `Words.hashes`, sorted: uint64."""
    codes = [np.array([ord(character) for character in word], np.uint32) for word in words]
    return np.sort(np.array([kernels.hash_run(word, 0, len(word)) for word in codes], np.uint64))


@cache
def _abbreviations() -> np.ndarray:
    return word_hashes(_ABBREVIATIONS)
