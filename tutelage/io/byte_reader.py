"""The decompressed bytes of a file, to read records from. Corrupt places are reported and skipped."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tutelage.io.decompress import CHUNK, Damage, decompress
from tutelage.io.open import open_bytes
from tutelage.ledger import Ledger

MAX_RECORD_BYTES = 20 << 20  # of a record, a line or a page; what is larger is skipped and counted


@contextmanager
def read_bytes(path: str | Path) -> Iterator[ByteReader]:
    """Context manager: a reader of the decompressed bytes of a file or URL. Raises as `open_bytes`."""
    with open_bytes(path) as file:
        yield ByteReader(decompress(file))


class ByteReader:
    """A reader of decompressed bytes. Every method stops at a corrupt place and sets `damage`; `resume` continues.

    position: decompressed bytes read so far, without corrupt ones, and before the first piece.
    put_back: bytes put back so far, to be read again.
    """

    def __init__(self, pieces: Iterator[bytes | Damage], position: int = 0) -> None:
        self._pieces = pieces
        self._buffer = b""
        self._start = 0
        self.position = position
        self.put_back = 0
        self.damage: Damage | None = None

    def _more(self) -> bool:
        if self.damage:
            return False
        piece = next(self._pieces, b"")
        if isinstance(piece, Damage):
            self.damage = piece
            return False
        self._buffer = self._buffer[self._start :] + piece
        self._start = 0
        return bool(piece)

    def until(self, mark: bytes, limit: int) -> bytes:
        """All bytes up to and including the next `mark`. Ends without it at the end of the file, at a corrupt place, or
        after `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        while (at := self._buffer.find(mark, self._start)) < 0:
            # The buffer may end with the beginning of the mark.
            safe = max(len(self._buffer) - len(mark) + 1, self._start)
            parts.append(self._give(min(safe, self._start + limit - size)))
            size += len(parts[-1])
            if size >= limit:
                return b"".join(parts)
            if not self._more():
                parts.append(self._give(min(len(self._buffer), self._start + limit - size)))
                return b"".join(parts)
        parts.append(self._give(min(at + len(mark), self._start + limit - size)))
        return b"".join(parts)

    def lines(self, limit: int) -> Iterator[bytes]:
        """All lines, as `until` reads them, to the end of the file or to a corrupt place. Only after a line without
        its end may another method be called before the next."""
        while True:
            stop = self._buffer.rfind(b"\n", self._start) + 1
            if 0 < stop - self._start <= limit:
                yield from io.BytesIO(self._give(stop))
            elif line := self.until(b"\n", limit):
                yield line
            else:
                return

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end of the file or at a corrupt place."""
        parts: list[bytes] = []
        while size:
            if self._start == len(self._buffer) and not self._more():
                break
            parts.append(self._give(min(self._start + size, len(self._buffer))))
            size -= len(parts[-1])
        return b"".join(parts)

    def skip_until(self, mark: bytes) -> bool:
        """Skip past the next `mark`; False if the file ends or is corrupt before it."""
        while found := self.until(mark, CHUNK):
            if found.endswith(mark):
                return True
            # The limit may have cut through a mark.
            if len(found) == CHUNK and len(mark) > 1:
                self.unread(found[1 - len(mark) :])
        return False

    def unread(self, content: bytes) -> None:
        """Put back the bytes that were read last."""
        begin = self._start - len(content)
        if begin >= 0 and self._buffer.startswith(content, begin):
            self._start = begin
        else:
            self._buffer, self._start = content + self._buffer[self._start :], 0
        self.position -= len(content)
        self.put_back += len(content)

    def resume(self) -> bool:
        """Continue after a corrupt place; False at the end of the file."""
        self.damage = None
        return self._start < len(self._buffer) or self._more() or self.damage is not None

    def _give(self, stop: int) -> bytes:
        given = self._buffer[self._start : stop]
        self._start = stop
        self.position += len(given)
        return given


def go_on(reader: ByteReader, path: str, ledger: Ledger) -> bool:
    """Count the corrupt place that the reader stopped at, with its size, and continue after it; False at the end of the
    file."""
    if reader.damage:
        ledger.read()
        ledger.drop(reader.damage.reason, where=note_lost(reader.damage, path, ledger))
    return reader.resume()


def note_lost(damage: Damage, path: str, ledger: Ledger) -> str:
    """Count the bytes lost at a corrupt place. Returns the place."""
    place = f"{path}:{damage.at}" + (f" ({damage.lost:,} compressed bytes)" if damage.lost else "")
    if damage.lost:
        ledger.note("compressed bytes lost", damage.lost, where=place)
    return place
