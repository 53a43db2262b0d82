"""Decompression that survives corruption: a corrupt place is reported with the bytes that are lost, and reading
continues after it where the format allows.

A compressed file consists of independent members: gz members, zst frames, xz and bz2 streams. After a corrupt member,
the next one is found by its magic bytes. Of lz4 what stands before a corrupt place is read.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, NamedTuple, Protocol

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdDict, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdDict, ZstdError

CHUNK = 1 << 16  # bytes
LOOK_BACK = 4 * CHUNK  # corruption is noticed some bytes after its place

EARLY, DAMAGED = "truncated compressed data", "corrupt compressed data"

# Text compresses 3 to 10 times. A far higher ratio is a decompression bomb.
BOMB_RATIO = 200
BOMB_BYTES = 64 << 20
MOST_BOMBS = 8  # per file; after that many, the rest of the file is skipped
BOMB = f"compression ratio above {BOMB_RATIO}"

_XZ_MEMORY = 256 << 20  # "xz -9" takes a quarter of it
# A .warc.zst of the Internet Archive begins with a frame without content that holds the dictionary of all others (WARC
# 1.1 Zstandard compression, IIPC).
_DICTIONARY_FRAME, _DICTIONARY, _ZST = b"\x5d\x2a\x4d\x18", b"\x37\xa4\x30\xec", b"\x28\xb5\x2f\xfd"
_MAX_DICTIONARY = 16 << 20
_LZ4 = b"\x04\x22\x4d\x18"
_UNREADABLE = (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error, ZstdError)


class Damage(NamedTuple):
    """A corrupt place: `lost` bytes from offset `at` of the file cannot be read."""

    reason: str
    at: int = 0
    lost: int = 0


class _Broken(Exception):
    """A member that cannot be decompressed from offset `at` on."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.reason, self.at = reason, at


class _Decompressor(Protocol):
    """The interface of the decompressors of bz2, lzma and zstd."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipDecompressor:
    """zlib with the interface of `_Decompressor`."""

    def __init__(self) -> None:
        self._zlib, self._rest = zlib.decompressobj(31), b""

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._rest + data, max_length)
        self._rest = self._zlib.unconsumed_tail
        return piece


def _xz() -> Any:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


class _Format(NamedTuple):
    """begins: how a member begins. again: what to search for after a corrupt one."""

    begins: re.Pattern[bytes]
    again: re.Pattern[bytes]
    make: Callable[[], _Decompressor]


_FORMATS = (
    _Format(re.compile(rb"\x1f\x8b"), re.compile(rb"\x1f\x8b\x08"), _GzipDecompressor),
    _Format(
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),  # frames, and frames without content
        re.compile(rb"\x28\xb5\x2f\xfd"),
        ZstdDecompressor,
    ),
    _Format(re.compile(rb"BZh[1-9]"), re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), bz2.BZ2Decompressor),
    _Format(re.compile(rb"\xfd7zXZ\0"), re.compile(rb"\xfd7zXZ\0\0"), _xz),
)


class _Compressed:
    """The bytes of a compressed file. The last LOOK_BACK bytes can be read again."""

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

    def read(self) -> bytes:
        """Up to CHUNK of the next bytes, with at most one read of the file."""
        if self._at == len(self._buffer):
            self._more()
        piece = self._buffer[self._at : self._at + CHUNK]
        self._at += len(piece)
        return piece

    def rest(self) -> Iterator[bytes]:
        """All remaining bytes. They cannot be read again."""
        while self._at < len(self._buffer):
            yield self.read()
        while piece := self._file.read(CHUNK):
            yield piece

    def seek(self, position: int) -> None:
        """Go back to an offset at most LOOK_BACK bytes before."""
        assert 0 <= position - self._begin <= self._at
        self._at = position - self._begin

    def find(self, mark: re.Pattern[bytes], longest: int = 16) -> None:
        """Seek to the next match of `mark`, or to the end of the file."""
        while not (match := mark.search(self._buffer, self._at)):
            self._at = max(self._at, len(self._buffer) - longest)
            if not self._more():
                self._at = len(self._buffer)
                return
        self._at = match.start()

    def skip_zeros(self) -> bool:
        """Seek to the next byte that is not zero; False at the end of the file."""
        while piece := self.read():
            if rest := piece.lstrip(b"\0"):
                self._at -= len(rest)
                return True
        return False


def decompress(file: BinaryIO) -> Iterator[bytes | Damage]:
    """The content of a gz, zst, bz2, xz, lz4 or uncompressed file, in chunks of at most CHUNK bytes. The format is
    detected by magic bytes, not by the file name. Adjacent corrupt places are merged. Errors of the file pass."""
    compressed = _Compressed(file)
    if compressed.peek(4) == _LZ4:
        yield from _lz4(compressed)
        return
    format_ = next((format_ for format_ in _FORMATS if format_.begins.match(compressed.peek(16))), None)
    if format_ is None:
        yield from compressed.rest()
        return
    if compressed.peek(4) == _DICTIONARY_FRAME and (dictionary := _dictionary(compressed)) is not None:
        format_ = format_._replace(make=partial(ZstdDecompressor, zstd_dict=dictionary))
    damage: Damage | None = None
    for piece in _members(compressed, format_):
        if isinstance(piece, Damage):
            damage = damage._replace(lost=piece.at + piece.lost - damage.at) if damage else piece
            continue
        if damage:
            yield damage
            damage = None
        yield piece
    if damage:
        yield damage


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins with these bytes is compressed in one of the formats above."""
    return head.startswith(_LZ4) or any(format_.begins.match(head) for format_ in _FORMATS)


def _dictionary(compressed: _Compressed) -> ZstdDict | None:
    """The dictionary in the first frame, itself compressed or not; None if there is none."""
    size = int.from_bytes(compressed.peek(8)[4:], "little")
    if size > _MAX_DICTIONARY:
        return None
    content = compressed.peek(8 + size)[8:]
    try:
        if content.startswith(_ZST):
            content = ZstdDecompressor().decompress(content, _MAX_DICTIONARY)
        return ZstdDict(content) if content.startswith(_DICTIONARY) else None
    except _UNREADABLE:
        return None


def _lz4(compressed: _Compressed) -> Iterator[bytes | Damage]:
    import pyarrow as pa  # type: ignore[import-untyped]

    size = 0
    with pa.CompressedInputStream(pa.PythonFile(_Reader(compressed), "r"), "lz4") as stream:
        while True:
            try:
                piece = stream.read(CHUNK)
            except OSError as error:
                if not isinstance(error, pa.ArrowException) and error.errno is not None:
                    raise  # of the disk
                at = compressed.position
                yield Damage(_reason(error), at, sum(map(len, compressed.rest())))
                return
            if not piece:
                return
            size += len(piece)
            if is_bomb(size, compressed.position):
                yield Damage(BOMB, compressed.position)
                return
            yield piece


class _Reader(io.RawIOBase):
    """The bytes of a compressed file as a file."""

    def __init__(self, compressed: _Compressed) -> None:
        self._compressed, self._rest = compressed, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self._rest or self._compressed.read()
        self._rest = piece[size:] if size >= 0 else b""
        return piece[:size] if size >= 0 else piece


def _members(compressed: _Compressed, format_: _Format) -> Iterator[bytes | Damage]:
    total, bombs = 0, 0  # bytes of valid members; number of bombs
    while compressed.skip_zeros():  # some writers pad the last block with zeros
        start, size, held = compressed.position, 0, b""
        try:
            if not format_.begins.match(compressed.peek(16)):
                raise _Broken(DAMAGED, start)
            for piece in _member(compressed, format_.make()):
                size += len(piece)
                if is_bomb(size, compressed.position - start) or is_bomb(total + size, compressed.position):
                    raise _Broken(BOMB, start)
                # The last chunk is held back until the checksum after it has been verified.
                if held:
                    yield held
                held = piece
        except _Broken as error:
            if error.reason == EARLY and held:
                yield held
            if compressed.position == start:
                compressed.read()
            compressed.seek(max(start + 1, compressed.position - LOOK_BACK))
            bombs += error.reason == BOMB
            if bombs < MOST_BOMBS:
                compressed.find(format_.again)
            else:
                while compressed.read():
                    pass
            yield Damage(error.reason, error.at, max(0, compressed.position - error.at))
            continue
        total += size
        if held:
            yield held


def _member(compressed: _Compressed, decompressor: _Decompressor) -> Iterator[bytes]:
    """The content of the member that begins here. Raises _Broken."""
    data, at = b"", compressed.position
    while not decompressor.eof:
        wanting = decompressor.needs_input
        if wanting:
            at = compressed.position
            data = compressed.read()
        try:
            piece = decompressor.decompress(data if wanting else b"", CHUNK)
        except _UNREADABLE as error:
            raise _Broken(_reason(error), at) from error
        if wanting and not data and not piece:
            raise _Broken(EARLY, at)
        if piece:
            yield piece
    compressed.seek(compressed.position - len(decompressor.unused_data))


def is_bomb(size: int, read: int) -> bool:
    """Whether `size` bytes from `read` compressed bytes look like a decompression bomb."""
    return size > BOMB_BYTES and size > BOMB_RATIO * read


def _reason(error: Exception) -> str:
    """A reason that does not vary from file to file, so that reasons can be counted."""
    message = str(error)
    if isinstance(error, EOFError) or any(word in message for word in ("ended", "Truncated")):
        return EARLY
    return "decompression needs too much memory" if "emory" in message else DAMAGED
