"""Decompression that survives corruption: a corrupt place is reported with the bytes that are lost, and reading
continues after it where the format allows.

A compressed file consists of independent parts: members (gz), frames (zst), streams (xz), blocks of streams (bz2).
After a corrupt part, the next one is found by its magic bytes.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol

from tutelage.corpus.read.bzip2 import bzip2
from tutelage.corpus.read.packed import CHUNK, DAMAGED, EARLY, LOOK_BACK, UNREADABLE, Broken, Damage, Packed

# Text compresses 3 to 10 times. A far higher ratio is a decompression bomb.
BOMB_RATIO = 200
BOMB_BYTES = 64 << 20
MOST_BOMBS = 8  # per file; after that many, the rest of the file is skipped

_XZ_MEMORY = 256 << 20  # "xz -9" takes a quarter of it
BOMB = f"compression ratio above {BOMB_RATIO}"


class _Machine(Protocol):
    """A decompressor with the interface of `bz2` and `lzma`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """zlib with the interface of `_Machine`."""

    def __init__(self) -> None:
        self._machine, self._rest = zlib.decompressobj(31), b""

    @property
    def eof(self) -> bool:
        return self._machine.eof

    @property
    def needs_input(self) -> bool:
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        return self._machine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._machine.decompress(self._rest + data, max_length)
        self._rest = self._machine.unconsumed_tail
        return piece


def unpack(file: BinaryIO) -> Iterator[bytes | Damage]:
    """The content of a gz, zst, bz2, xz or uncompressed file, in chunks of at most CHUNK bytes. The format is detected
    by magic bytes, not by the file name. Adjacent corrupt places are merged."""
    packed = Packed(file)
    form = next((form for form in _FORMS if form.begins.match(packed.peek(16))), None)
    if form is None:
        yield from packed.rest()
        return
    damage: Damage | None = None
    for found in _parts(packed, form):
        if isinstance(found, Damage):
            damage = damage._replace(lost=found.at + found.lost - damage.at) if damage else found
            continue
        if damage:
            yield damage
            damage = None
        yield found
    if damage:
        yield damage


def _parts(packed: Packed, form: _Form) -> Iterator[bytes | Damage]:
    made, bombs = 0, 0  # bytes of valid parts; number of bombs
    while _skip_zeros(packed):  # some writers pad the last block with zeros
        start, own, held = packed.position, 0, b""
        try:
            if not form.begins.match(packed.peek(16)):
                raise Broken(DAMAGED, start)
            for piece in form.unpack(packed):
                if isinstance(piece, Damage):
                    yield from filter(None, [held, piece])
                    held = b""
                    continue
                own += len(piece)
                if is_bomb(own, packed.position - start) or is_bomb(made + own, packed.position):
                    raise Broken(BOMB, start)
                # The last chunk is held back until the checksum after it has been verified.
                if held:
                    yield held
                held = piece
        except Broken as error:
            if error.reason == EARLY and held:
                yield held
            if packed.position == start:
                packed.read(1)
            packed.go_back(max(start + 1, packed.position - LOOK_BACK))
            bombs += error.reason == BOMB
            if bombs < MOST_BOMBS:
                packed.find(form.again)
            else:
                while packed.some():
                    pass
            yield Damage(error.reason, error.at, packed.position - error.at)
            continue
        made += own
        if held:
            yield held


def _skip_zeros(packed: Packed) -> bool:
    while piece := packed.some():
        if rest := piece.lstrip(b"\0"):
            packed.go_back(packed.position - len(rest))
            return True
    return False


def is_bomb(made: int, read: int) -> bool:
    """Whether `made` bytes from `read` compressed bytes look like a decompression bomb."""
    return made > BOMB_BYTES and made > BOMB_RATIO * read


def _by_machine(make: Callable[[], _Machine]) -> Callable[[Packed], Iterator[bytes | Damage]]:
    """A part that one decompressor handles from its first byte to its last."""

    def part(packed: Packed) -> Iterator[bytes | Damage]:
        machine, data, at = make(), b"", packed.position
        while not machine.eof:
            wanting = machine.needs_input
            if wanting:
                at = packed.position
                data = packed.some()
            try:
                piece = machine.decompress(data if wanting else b"", CHUNK)
            except UNREADABLE as error:
                raise Broken(_reason(error), at) from error
            if wanting and not data and not piece:
                raise Broken(EARLY, at)
            if piece:
                yield piece
        packed.go_back(packed.position - len(machine.unused_data))

    return part


def _reason(error: Exception) -> str:
    """A reason that does not vary from file to file, so that reasons can be counted."""
    message = str(error)
    if isinstance(error, EOFError) or any(word in message for word in ("ended", "Truncated")):
        return EARLY
    return "decompression needs too much memory" if "emory" in message else DAMAGED


class _Frame:
    """The bytes of one zst frame as a file, without the next frame: block headers give the lengths."""

    def __init__(self, packed: Packed) -> None:
        self._packed, self._held = packed, b""
        self._blocks = self._walk()
        self.at = packed.position  # offset of the last bytes returned
        self.problem = ""
        self.closed = False

    def read(self, size: int) -> bytes:
        """As `file.read`."""
        if not self._held:
            self.at = self._packed.position
            self._held = next(self._blocks, b"")
        given, self._held = self._held[:size], self._held[size:]
        return given

    def close(self) -> None:
        """As `file.close`; the underlying file stays open."""
        self.closed = True

    def _walk(self) -> Iterator[bytes]:
        about = self._packed.peek(5)
        flags = about[-1] if len(about) == 5 else 8
        if flags & 8:  # a reserved bit
            self.problem = DAMAGED if len(about) == 5 else EARLY
            return
        alone = bool(flags & 32)
        yield self._packed.read(
            5 + (not alone) + (0, 1, 2, 4)[flags & 3] + (int(alone), 2, 4, 8)[flags >> 6]
        )  # window, dictionary, size
        last = False
        while not last:
            head = self._packed.read(3)
            if len(head) < 3:
                return
            block = int.from_bytes(head, "little")
            last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            if kind == 3 or (size > 128 << 10 and kind != 1):
                self.problem = DAMAGED
                return
            yield head + self._packed.read(1 if kind == 1 else size)
        if flags & 4:
            yield self._packed.read(4)


def _zstd(packed: Packed) -> Iterator[bytes | Damage]:
    import pyarrow  # type: ignore[import-untyped]

    if packed.peek(4)[1:] == b"\x2a\x4d\x18":  # a skippable frame
        at = packed.position
        left = int.from_bytes(packed.read(8)[4:], "little")
        while left:
            if not (skipped := len(packed.read(min(left, CHUNK)))):
                raise Broken(EARLY, at)
            left -= skipped
        return
    frame = _Frame(packed)
    try:
        unpacked = pyarrow.CompressedInputStream(pyarrow.PythonFile(frame, "r"), "zstd")
        while piece := unpacked.read(CHUNK):
            yield piece
    except UNREADABLE as error:
        raise Broken(frame.problem or _reason(error), frame.at) from error
    if frame.problem:
        raise Broken(frame.problem, frame.at)


class _Form(NamedTuple):
    """A way to pack. begins: how a part begins. again: how one is looked for behind a damage. unpack: one part."""

    begins: re.Pattern[bytes]
    again: re.Pattern[bytes]
    unpack: Callable[[Packed], Iterator[bytes | Damage]]


def _xz() -> Any:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


_FORMS = (
    _Form(re.compile(rb"\x1f\x8b"), re.compile(rb"\x1f\x8b\x08"), _by_machine(_Gunzip)),
    _Form(re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), re.compile(rb"\x28\xb5\x2f\xfd"), _zstd),
    _Form(re.compile(rb"BZh[1-9]"), re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), bzip2),
    _Form(re.compile(rb"\xfd7zXZ\0"), re.compile(rb"\xfd7zXZ\0\0"), _by_machine(_xz)),
)
