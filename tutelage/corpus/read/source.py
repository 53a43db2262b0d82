"""The bytes of a file, unpacked piece by piece: a damaged place is told and left out, and what follows it is read."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from tutelage.corpus.extras import load
from tutelage.files import explain

CHUNK = 1 << 16  # bytes
MAX_RECORD_BYTES = 20 << 20  # of a record, a line or a page; what is larger is skipped and counted
# Text shrinks to a third or a tenth; what unpacks to far more than that was made to fill the memory of who reads it.
BOMB_RATIO = 200
BOMB_BYTES = 64 << 20

_GZIP = b"\x1f\x8b\x08"
_DAMAGE = (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error)  # an ArrowInvalid is a ValueError


class Damage(NamedTuple):
    """A place of a file that cannot be unpacked; `at` counts the bytes of the file as it is on disk."""

    reason: str
    at: int


def open_bytes(path: str) -> BinaryIO:
    """A local file, or whatever `fsspec` knows how to open ("s3://...", "zip://..."). DiskError where it cannot be."""
    try:
        if "://" in path:
            return cast(BinaryIO, load("fsspec").open(path, "rb").open())
        return open(path, "rb")
    except OSError as error:
        raise explain(error, Path(path), "read") from error


def unpack(file: BinaryIO) -> Iterator[bytes | Damage]:
    """The content of a gz, zst, bz2, xz or plain file in pieces of at most CHUNK bytes. What it is packed with is read
    from its first bytes, whatever its name. Only gz, which is made of members, can be read on behind a damaged place;
    of the others a damage is the last piece."""
    start = file.read(CHUNK)
    if start.startswith(_GZIP[:2]):
        yield from _gzip_pieces(file, start)
    elif start[:4] == b"\x28\xb5\x2f\xfd":
        yield from _stream_pieces(file, _zstd)
    elif start[:3] == b"BZh":
        yield from _stream_pieces(file, bz2.BZ2File)
    elif start[:6] == b"\xfd7zXZ\x00":
        yield from _stream_pieces(file, lzma.LZMAFile)
    else:
        while start:
            yield start
            start = file.read(CHUNK)


def _zstd(file: BinaryIO) -> Any:
    import pyarrow  # type: ignore[import-untyped]

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(file, "r"), "zstd")


def _stream_pieces(file: BinaryIO, reader: Callable[[BinaryIO], Any]) -> Iterator[bytes | Damage]:
    file.seek(0)
    made = 0
    try:
        unpacked = reader(file)
        while piece := unpacked.read(CHUNK):
            made += len(piece)
            if made > BOMB_BYTES and made > BOMB_RATIO * file.tell():
                yield Damage(f"unpacks to more than {BOMB_RATIO} times its size", file.tell())
                return
            yield piece
    except _DAMAGE as error:
        yield Damage(_damaged(error), file.tell())


def _damaged(error: Exception) -> str:
    """In a few words that do not vary from file to file, so that reasons can be counted."""
    early = isinstance(error, EOFError) or any(word in str(error) for word in ("ended", "Truncated"))
    return "packed data end early" if early else "packed data are damaged"


def _gzip_pieces(file: BinaryIO, data: bytes) -> Iterator[bytes | Damage]:
    """Member after member. Behind a damaged place the next member is looked for by how members begin."""
    told = False  # several damages in a row are one: bytes that merely look like a member's beginning
    while data := data.lstrip(b"\0") or file.read(CHUNK):  # some writers fill up their last block with zeros
        machine, made, read, held = zlib.decompressobj(31), 0, 0, b""
        problem = "" if data.startswith(_GZIP[: len(data)]) else "packed data are damaged"
        while not problem and not machine.eof:
            before = data
            try:
                piece = machine.decompress(before, CHUNK)
            except zlib.error:
                problem = "packed data are damaged"
                break
            data = machine.unused_data if machine.eof else machine.unconsumed_tail
            made, read = made + len(piece), read + len(before) - len(data)
            if made > BOMB_BYTES and made > BOMB_RATIO * read:
                problem = f"unpacks to more than {BOMB_RATIO} times its size"
                break
            # The last piece is held back until the member's checksum says that it is right.
            if held:
                yield held
                told = False
            held = piece
            if machine.eof or data:
                continue
            data = file.read(CHUNK)
            if not data and not piece:
                yield from filter(None, [held])
                yield Damage("packed data end early", file.tell())
                return
        if not problem:
            if held:
                yield held
                told = False
            continue
        if not told:
            yield Damage(problem, file.tell() - len(data))
            told = True
        data = _next_member(file, data[1:])


def _next_member(file: BinaryIO, data: bytes) -> bytes:
    while (at := data.find(_GZIP)) < 0:
        more = file.read(CHUNK)
        if not more:
            return b""
        data = data[-2:] + more
    return data[at:]


class Source:
    """Unpacked bytes to read from. Every method stops at a damaged place, where `damage` is set; `resume` goes on.

    position: how many unpacked bytes lie behind, the damaged ones not counted.
    put_back: how many have been put back so far, to be read again.
    """

    def __init__(self, pieces: Iterator[bytes | Damage]) -> None:
        self._pieces = pieces
        self._buffer = b""
        self._start = 0
        self.position = 0
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
        """All up to and including the next `mark`; without it where the file ends, is damaged or `limit` bytes came."""
        parts: list[bytes] = []
        size = 0
        while (at := self._buffer.find(mark, self._start)) < 0:
            # The end of what is there may be the beginning of the mark.
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

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer where the file ends or is damaged."""
        parts: list[bytes] = []
        while size:
            if self._start == len(self._buffer) and not self._more():
                break
            parts.append(self._give(min(self._start + size, len(self._buffer))))
            size -= len(parts[-1])
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """How many of the next `size` bytes there were; none of them is kept."""
        before = self.position
        while (left := size - (self.position - before)) and self.read(min(left, CHUNK)):
            pass
        return self.position - before

    def skip_until(self, mark: bytes) -> bool:
        """Goes behind the next `mark`; False where there is none before the end or a damage."""
        while found := self.until(mark, CHUNK):
            if found.endswith(mark):
                return True
            # A mark may have been cut by the limit.
            if len(found) == CHUNK and len(mark) > 1:
                self.unread(found[1 - len(mark) :])
        return False

    def unread(self, content: bytes) -> None:
        """Puts bytes back that were read last, to be read again."""
        begin = self._start - len(content)
        if begin >= 0 and self._buffer.startswith(content, begin):
            self._start = begin
        else:
            self._buffer, self._start = content + self._buffer[self._start :], 0
        self.position -= len(content)
        self.put_back += len(content)

    def resume(self) -> bool:
        """Goes on behind a damage; False at the end of the file."""
        self.damage = None
        return self._start < len(self._buffer) or self._more() or self.damage is not None

    def _give(self, stop: int) -> bytes:
        given = self._buffer[self._start : stop]
        self._start = stop
        self.position += len(given)
        return given
