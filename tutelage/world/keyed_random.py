"""Choices that follow from a key alone: the same on every machine, in every process and in any order of asking."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """An endless row of independent choices that the key fixes.

    Each choice is cut off one large number, which costs far less than a numpy generator per document would.
    """

    __slots__ = ("_block", "_key", "_number")

    def __init__(self, *key: int | str) -> None:
        self._key = repr(key).encode()
        self._block = 0
        self._number = 0

    def below(self, count: int) -> int:
        """A whole number from 0 to count - 1, all equally likely."""
        if self._number < 1 << 64:  # what is left of the number must stay far larger than any count
            digest = blake2b(self._key, salt=self._block.to_bytes(16, "little")).digest()
            self._number = int.from_bytes(digest, "little")
            self._block += 1
        self._number, choice = divmod(self._number, count)
        return choice

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.below(len(options))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in a drawn order."""
        rest = list(items)
        for last in range(len(rest) - 1, 0, -1):
            other = self.below(last + 1)
            rest[last], rest[other] = rest[other], rest[last]
        return rest
