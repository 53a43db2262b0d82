"""ROUGE-L between short texts, and the search for a similar one among many (Self-Instruct's novelty filter)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numba
import numpy as np

from tutelage.synth.method import Drop

_WORD = re.compile(r"[a-z0-9]+")


@numba.njit(cache=True)
def _best(words: np.ndarray, pool: np.ndarray, bounds: np.ndarray, count: int) -> tuple[float, int]:
    """The largest ROUGE-L F score of a text with those of a pool, and which one it is."""
    best, at = 0.0, -1
    row = np.zeros(len(words) + 1, np.int32)
    for text in range(count):
        begin, end = bounds[text], bounds[text + 1]
        shorter, total = min(len(words), end - begin), len(words) + end - begin
        if total == 0 or 2.0 * shorter / total <= best:
            continue
        row[:] = 0
        for place in range(begin, end):
            diagonal = 0
            for column in range(len(words)):
                above = row[column + 1]
                row[column + 1] = diagonal + 1 if words[column] == pool[place] else max(above, row[column])
                diagonal = above
        score = 2.0 * row[len(words)] / total
        if score > best:
            best, at = score, text
    return best, at


class RougePool:
    """Texts, and whether another is similar to one of them: the F score of the longest common subsequence of words
    (Lin 2004, section 3; lower case, letters and digits only, no stemmer) is above a limit."""

    def __init__(self, limit: float, texts: Iterable[str] = ()) -> None:
        self.limit, self._count = limit, 0
        self._ids: dict[str, int] = {}
        self._words, self._bounds = np.empty(1024, np.int32), np.zeros(256, np.int64)
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return self._count

    def similar(self, text: str, count: int | None = None) -> Drop | None:
        """Why a text is dropped as not new; None if it is new. Compared with the first `count` texts, if given."""
        compared = self._count if count is None else count
        score, at = _best(self._numbered(text), self._words, self._bounds, compared)
        return Drop("not new", f"ROUGE-L {score:.2f} with prompt {at + 1:,}") if score > self.limit else None

    def add(self, text: str) -> None:
        """One more text to be compared with."""
        words = self._numbered(text)
        begin = int(self._bounds[self._count])
        while begin + len(words) > len(self._words):
            self._words = np.concatenate([self._words, np.empty_like(self._words)])
        if self._count + 2 > len(self._bounds):
            self._bounds = np.concatenate([self._bounds, np.zeros_like(self._bounds)])
        self._words[begin : begin + len(words)] = words
        self._count += 1
        self._bounds[self._count] = begin + len(words)

    def _numbered(self, text: str) -> np.ndarray:
        ids = self._ids
        return np.array([ids.setdefault(word, len(ids)) for word in _WORD.findall(text.lower())], np.int32)


def rouge_l(left: str, right: str) -> float:
    """The ROUGE-L F score of two texts."""
    pool = RougePool(1.0, [left])
    return float(_best(pool._numbered(right), pool._words, pool._bounds, 1)[0])
