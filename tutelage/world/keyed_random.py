"""Random choices from a key: the same on every machine, in every process and in any order of evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class KeyedRandom:
    """A random generator whose stream is a function of its key.

    Each choice is taken from a 512-bit hash, which costs far less than a NumPy generator per document.
    """

    __slots__ = ("_block", "_key", "_number")

    def __init__(self, *key: int | str) -> None:
        self._key = repr(key).encode()
        self._block = 0
        self._number = 0

    def randbelow(self, count: int) -> int:
        """An integer from 0 to count - 1, uniformly distributed."""
        if self._number < 1 << 64:  # the rest of the number must stay far larger than any count
            digest = blake2b(self._key, salt=self._block.to_bytes(16, "little")).digest()
            self._number = int.from_bytes(digest, "little")
            self._block += 1
        self._number, choice = divmod(self._number, count)
        return choice

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, uniformly distributed."""
        return options[self.randbelow(len(options))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in random order."""
        rest = list(items)
        for last in range(len(rest) - 1, 0, -1):
            other = self.randbelow(last + 1)
            rest[last], rest[other] = rest[other], rest[last]
        return rest
