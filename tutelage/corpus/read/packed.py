"""The bytes of a compressed file, and the faults that they can have."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

CHUNK = 1 << 16  # bytes
LOOK_BACK = 4 * CHUNK  # corruption is noticed some bytes after its place

EARLY, DAMAGED = "truncated compressed data", "corrupt compressed data"
UNREADABLE = (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error)  # an ArrowInvalid is a ValueError


class Damage(NamedTuple):
    """A corrupt place: `lost` bytes from offset `at` of the compressed file cannot be decompressed."""

    reason: str
    at: int
    lost: int


class Broken(Exception):
    """A member that cannot be decompressed from offset `at` on."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.reason, self.at = reason, at


class Packed:
    """The bytes of a file. The last LOOK_BACK bytes can be read again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer, self._at, self._begin = b"", 0, 0

    @property
    def position(self) -> int:
        """Offset in the file."""
        return self._begin + self._at

    def _more(self) -> bool:
        piece = self._file.read(LOOK_BACK)  # as much as is copied with it
        cut = max(0, self._at - LOOK_BACK)
        self._buffer, self._at, self._begin = self._buffer[cut:] + piece, self._at - cut, self._begin + cut
        return bool(piece)

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end of the file, without consuming them."""
        while len(self._buffer) - self._at < size and self._more():
            pass
        return self._buffer[self._at : self._at + size]

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end of the file."""
        given = self.peek(size)
        self._at += len(given)
        return given

    def some(self) -> bytes:
        """Up to CHUNK of the next bytes, with at most one read of the file."""
        if self._at == len(self._buffer):
            self._more()
        return self.read(min(CHUNK, len(self._buffer) - self._at))

    def rest(self) -> Iterator[bytes]:
        """All remaining bytes. They cannot be read again."""
        while self._at < len(self._buffer):
            yield self.some()
        while piece := self._file.read(CHUNK):
            yield piece

    def go_back(self, position: int) -> None:
        """Seek back to an offset at most LOOK_BACK bytes before."""
        assert 0 <= position - self._begin <= self._at
        self._at = position - self._begin

    def find(self, mark: re.Pattern[bytes], longest: int = 16) -> bool:
        """Seek to the next match of `mark`; False, at the end of the file, if there is none."""
        while not (found := mark.search(self._buffer, self._at)):
            self._at = max(self._at, len(self._buffer) - longest)
            if not self._more():
                self._at = len(self._buffer)
                return False
        self._at = found.start()
        return True
