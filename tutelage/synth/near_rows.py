"""Near duplicates among rows that arrive one by one: the search of `chat.audit.near_duplicates`, as an index that
grows."""

from __future__ import annotations

import numpy as np

from tutelage.chat.audit.near_duplicates import SHORT_ANSWER, SIMILAR
from tutelage.text.characters import MARKS
from tutelage.text.minhash import BAND, FUNCTIONS, signatures
from tutelage.text.ngrams import text_hashes
from tutelage.text.words import hash_words

_BANDS = FUNCTIONS // BAND
_COMPARED = 64  # rows of one band that a new row is compared with, the first ones, so that time stays linear
_NO_WORDS = 65535


class NearRows:
    """Rows by the signatures of the users' text and of the assistant's, both of which must be similar. Memory:
    about 2 kB a row."""

    def __init__(self) -> None:
        self._count = 0
        self._signatures = np.empty((256, 2, FUNCTIONS), np.uint16)
        self._prompts = np.empty(256, np.uint64)
        self._exact: dict[int, int] = {}
        # Most keys have one row, which needs no list.
        self._bands: list[dict[int, int | list[int]]] = [{} for _ in range(_BANDS)]
        self._last: tuple[tuple[str, str], tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        return self._count

    def find(self, user: str, assistant: str) -> tuple[str, int] | None:
        """ "duplicate" or "near duplicate", with the number of the row that it resembles; None where there is none."""
        both, hashes = self._hashed(user, assistant)
        exact = self._exact.get(hash((user, assistant)))
        if exact is not None:
            return "duplicate", exact
        candidates = self._candidates(both)
        if not candidates:
            return None
        others = self._signatures[candidates]
        shares = (others == both[None]).mean(axis=2)
        if not user.strip():
            similar = shares[:, 1] >= SIMILAR
        elif len(assistant) < SHORT_ANSWER:
            similar = (self._prompts[candidates] == hashes[0]) & (shares[:, 1] >= SIMILAR)
        else:
            similar = (shares >= SIMILAR).all(axis=1)
        found = np.flatnonzero(similar)
        return ("near duplicate", candidates[found[0]]) if len(found) else None

    def add(self, user: str, assistant: str) -> None:
        """One more row."""
        both, hashes = self._hashed(user, assistant)
        if self._count == len(self._prompts):
            self._signatures = np.concatenate([self._signatures, np.empty_like(self._signatures)])
            self._prompts = np.concatenate([self._prompts, np.empty_like(self._prompts)])
        self._signatures[self._count], self._prompts[self._count] = both, hashes[0]
        self._exact[hash((user, assistant))] = self._count
        for band, key in zip(self._bands, _keys(both), strict=True):
            rows = band.setdefault(key, self._count)
            if isinstance(rows, list):
                rows += [self._count][: _COMPARED - len(rows)]
            elif rows != self._count:
                band[key] = [rows, self._count]
        self._count += 1

    def _candidates(self, both: np.ndarray) -> list[int]:
        """The rows that share a band with these signatures, in order."""
        found: set[int] = set()
        for band, key in zip(self._bands, _keys(both), strict=True):
            rows = band.get(key, ())
            found.update((rows,) if isinstance(rows, int) else rows)
        return sorted(found)

    def _hashed(self, user: str, assistant: str) -> tuple[np.ndarray, np.ndarray]:
        """Signatures, uint16[2, 64], and hashes of all words, uint64[2], of both texts."""
        if self._last is None or self._last[0] != (user, assistant):
            words = hash_words([user, assistant], MARKS)
            self._last = (user, assistant), (signatures(words), text_hashes(words))
        return self._last[1]


def _keys(both: np.ndarray) -> list[int]:
    """A key for each band: two values of the users' signature and two of the assistant's; four of the latter for a text
    without a user."""
    if (both[0] == _NO_WORDS).all():
        keys = np.ascontiguousarray(both[1]).view(np.uint64)
    else:
        half = BAND // 2
        pairs = both[:, : _BANDS * half].reshape(2, _BANDS, half).transpose(1, 0, 2)
        keys = np.ascontiguousarray(pairs).reshape(_BANDS, BAND).view(np.uint64)[:, 0]
    return list(keys.tolist())
