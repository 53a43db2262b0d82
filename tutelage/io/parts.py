"""Parts of a large file that processes read side by side: byte ranges of JSON lines and of plain text, row groups of
Parquet. Together they give what the whole file gives, in the same order and with the same places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tutelage.io.byte_reader import ByteReader
from tutelage.io.decompress import CHUNK, is_compressed
from tutelage.io.open import open_bytes


class Part(NamedTuple):
    """Bytes of a file: it holds the lines, or row groups, that begin from `start` on and before `stop`."""

    start: int
    stop: int


def parts_of(size: int, part_bytes: int, unit: int = 1) -> list[Part]:
    """A file of `size` bytes in equal parts of about `part_bytes`, which begin at multiples of `unit`."""
    count = max(1, round(size / part_bytes))
    starts = sorted({size * number // count // unit * unit for number in range(count)})
    return [Part(start, stop) for start, stop in zip(starts, [*starts[1:], size], strict=True)]


def uncompressed_head(path: str | Path, size: int) -> bytes:
    """The first `size` bytes of a file that is not compressed and can seek; b"" of another. Raises as `open_bytes`."""
    with open_bytes(path) as file:
        head = file.read(size)
        return head if file.seekable() and not is_compressed(head) else b""


@contextmanager
def read_from(path: str | Path, start: int) -> Iterator[ByteReader]:
    """Context manager: a reader of an uncompressed file from a byte on. Raises as `open_bytes`."""
    with open_bytes(path) as file:
        file.seek(start)
        yield ByteReader(iter(partial(file.read, CHUNK), b""), start)
