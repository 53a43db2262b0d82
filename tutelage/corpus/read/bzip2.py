"""bz2 streams, decompressed block by block: a corrupt block loses only itself."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from typing import NamedTuple

from tutelage.corpus.read.packed import CHUNK, DAMAGED, EARLY, UNREADABLE, Broken, Damage, Packed

_HELD = 4 << 20  # bytes held back until the checksum of the block is verified; a block of text has about one million
_LONGEST = 1 << 20  # compressed bytes of a block


class _BitMark(NamedTuple):
    """A 48-bit magic number that begins `shift` bits into a byte: the five bytes that it fills, and its bits in the
    bytes at both ends."""

    is_block: bool
    shift: int
    inner: bytes
    first: int
    last: int


def _bit_marks() -> Iterator[_BitMark]:
    for is_block, magic in ((True, 0x314159265359), (False, 0x177245385090)):
        for shift in range(8):
            seven = (magic << (8 - shift)).to_bytes(7, "big")
            yield _BitMark(is_block, shift, seven[1:6], seven[0], seven[6])


_BIT_MARKS = tuple(_bit_marks())
_END_OF_STREAM = 0x177245385090


def _marks(data: bytes, start: int) -> list[tuple[int, bool]]:
    """The bit offsets, from byte `start` on, of block headers and stream ends, each with whether it is a block. A magic
    number that begins in the last seven bytes of `data` is not found."""
    found = []
    for mark in _BIT_MARKS:
        at = data.find(mark.inner, start + 1)
        while at >= 0:
            if at + 5 < len(data):
                front = data[at - 1] & (0xFF >> mark.shift) == mark.first
                if front and data[at + 5] & (0xFF00 >> mark.shift & 0xFF) == mark.last:
                    found.append((8 * (at - 1) + mark.shift, mark.is_block))
            at = data.find(mark.inner, at + 1)
    return sorted(found)


def bzip2(packed: Packed) -> Iterator[bytes | Damage]:
    """Decompress one stream block by block. Blocks may begin at any bit. A corrupt block loses only itself."""
    packed.read(4)
    # `data` begins at offset `base` of the file; it has been searched for magic numbers up to byte `scanned`.
    data, base, scanned = b"", packed.position, 0
    marks: list[tuple[int, bool]] = []
    gap = True  # the next magic number must be at the beginning of `data`
    while True:
        fresh = packed.some()
        data += fresh
        if len(data) - 7 >= scanned:
            marks += [mark for mark in _marks(data, scanned) if not marks or mark[0] > marks[-1][0]]
            scanned = len(data) - 6
        while marks:
            (bit, is_block), rest = marks[0], marks[1:]
            if gap and bit:
                yield Damage(DAMAGED, base, bit // 8)
            gap = False
            if not is_block:
                end = base + (bit + 48 + 32 + 7) // 8
                if end > packed.position:
                    raise Broken(EARLY, base + bit // 8)
                packed.go_back(end)
                return
            at = base + bit // 8
            if not rest:
                break
            yield from _block(data, bit, rest[0][0], at)
            cut = rest[0][0] // 8
            data, base, scanned = data[cut:], base + cut, scanned - cut
            marks = [(place - 8 * cut, kind) for place, kind in rest]
        if not fresh:
            raise Broken(EARLY, base + (marks[0][0] // 8 if marks else 0))
        if len(data) > _LONGEST + 2 * CHUNK:  # the next block header is corrupt too
            lost = len(data) - CHUNK
            yield Damage(DAMAGED, base, lost)
            data, base, scanned, marks, gap = data[lost:], base + lost, scanned - lost, [], True


def _block(data: bytes, begin: int, end: int, at: int) -> Iterator[bytes | Damage]:
    """Decompress one block, bits begin..end of `data`, by wrapping it into a stream of its own."""
    bits = end - begin
    block = int.from_bytes(data[begin // 8 : (end + 7) // 8], "big") >> (-end % 8) & ((1 << bits) - 1)
    checksum = block >> (bits - 80) & 0xFFFFFFFF if bits >= 80 else 0
    stream = ((block << 48 | _END_OF_STREAM) << 32 | checksum) << (-(bits + 80) % 8)
    machine = bz2.BZ2Decompressor()
    content = b"BZh9" + stream.to_bytes((bits + 80 + 7) // 8, "big")
    held: list[bytes] | None = []
    size = 0
    try:
        while not machine.eof:
            piece = machine.decompress(content, CHUNK)
            content = b""
            if not piece and machine.needs_input and not machine.eof:
                raise EOFError
            size += len(piece)
            if held is None:
                yield piece
                continue
            held.append(piece)
            if size > _HELD:
                yield from held
                held = None
    except UNREADABLE:
        yield Damage(DAMAGED, at, (end - begin) // 8)
        return
    yield from filter(None, held or [])
