"""The bytes of a packed file, and what can be wrong with them."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

CHUNK = 1 << 16  # bytes
LOOK_BACK = 4 * CHUNK  # a damage is noticed behind the place where it stands

EARLY, DAMAGED = "packed data end early", "packed data are damaged"
UNREADABLE = (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error)  # an ArrowInvalid is a ValueError


class Damage(NamedTuple):
    """A place of a file that cannot be unpacked: `lost` bytes from the byte `at` on, of the file as it is on disk."""

    reason: str
    at: int
    lost: int


class Broken(Exception):
    """A part that cannot be unpacked from a byte of the file on."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.reason, self.at = reason, at


class Packed:
    """The bytes of a file, of which the last that were read can be read again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer, self._at, self._begin = b"", 0, 0

    @property
    def position(self) -> int:
        """How many bytes of the file lie behind."""
        return self._begin + self._at

    def _more(self) -> bool:
        piece = self._file.read(LOOK_BACK)  # as much as is copied with it
        cut = max(0, self._at - LOOK_BACK)
        self._buffer, self._at, self._begin = self._buffer[cut:] + piece, self._at - cut, self._begin + cut
        return bool(piece)

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer where the file ends; they are still to be read."""
        while len(self._buffer) - self._at < size and self._more():
            pass
        return self._buffer[self._at : self._at + size]

    def read(self, size: int) -> bytes:
        """The next bytes: `size` of them where there are as many, else what there is."""
        given = self.peek(size)
        self._at += len(given)
        return given

    def some(self) -> bytes:
        """Up to CHUNK of the next bytes, without waiting for more than there is."""
        if self._at == len(self._buffer):
            self._more()
        return self.read(min(CHUNK, len(self._buffer) - self._at))

    def rest(self) -> Iterator[bytes]:
        """All that is left; none of it can be read again."""
        while self._at < len(self._buffer):
            yield self.some()
        while piece := self._file.read(CHUNK):
            yield piece

    def go_back(self, position: int) -> None:
        """Goes back to a byte not further than LOOK_BACK behind."""
        assert 0 <= position - self._begin <= self._at
        self._at = position - self._begin

    def find(self, mark: re.Pattern[bytes], longest: int = 16) -> bool:
        """Goes to the next place where `mark` stands; to the end, and False, where there is none."""
        while not (found := mark.search(self._buffer, self._at)):
            self._at = max(self._at, len(self._buffer) - longest)
            if not self._more():
                self._at = len(self._buffer)
                return False
        self._at = found.start()
        return True
