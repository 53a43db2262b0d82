"""Files to rows: JSON lines, a JSON list, a JSON object with a list, several JSON values, Parquet, Arrow, CSV or TSV;
plain, gz, zst, bz2 or xz; local or a URL.

The first bytes of a file decide its layout, not its name. Rows are streamed, so memory does not grow with the file.
"""

from __future__ import annotations

import codecs
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from tutelage.io.byte_reader import ByteReader
from tutelage.io.decompress import Damage, decompress
from tutelage.io.json_rows import json_lines, json_values
from tutelage.io.open import open_bytes
from tutelage.io.parts import Part, read_from, uncompressed_head
from tutelage.io.row import BrokenRow, PlacedRow, Row, not_an_object
from tutelage.io.table_rows import arrow_rows, csv_delimiter, csv_rows, parquet_rows

MAX_ROW = 64 * 2**20  # bytes; a longer row means a file of another kind, and would not fit into memory

_HEAD = 1 << 20  # bytes that decide the layout
_PARQUET, _LFS = b"PAR1", b"version https://git-lfs.github.com/spec/v1"
_ARROW = (b"ARROW1", b"\xff\xff\xff\xff")  # a file, and a stream as the library `datasets` writes it
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FEW_ODD = 3  # bytes that are not UTF-8: fewer may be slips
_ACCIDENTS, _ADJACENT = 0.5, 2.5

IsRow = Callable[[Row], bool]


def rows(path: Path, is_row: IsRow) -> Iterator[tuple[str, Row | BrokenRow | None]]:
    """The rows of a file, each a dict, its error, or None for a blank line; with its place: "FILE:LINE" for lines and
    "FILE#ROW" else, from 1. `is_row` as in `scan_rows`.

    Raises:
        DiskError: the file cannot be read.
        ValueError: the file is damaged, raised after the rows before the damage; or is not UTF-8; or a Git LFS pointer.
    """
    last = 0
    name = path.name
    for row in scan_rows(path, is_row):
        value, number, layout = row.value, row.number, row.layout
        if type(value) is not dict and value is not None:
            if isinstance(value, Damage):
                noun = "line" if layout == "lines" else "row"
                after = f"after {noun} {last}" if last else "before its first row"
                raise ValueError(f"{path} is damaged {after} ({value.reason}); download or compress it again")
            value = value if isinstance(value, BrokenRow) else not_an_object()
        last = number
        yield f"{name}:{number}" if layout == "lines" else f"{name}#{number}", value


def scan_rows(path: str | Path, is_row: IsRow, lenient: bool = False, max_row: int = MAX_ROW) -> Iterator[PlacedRow]:
    """The rows of a file, and its damaged places.

    is_row:  whether a JSON object is a row. A file of one object that is none, but has one list, is the rows of it.
    lenient: accept rows in another encoding than UTF-8, and almost JSON; they have a remark.
    max_row: limit of a row, in bytes.

    Raises:
        DiskError: the file cannot be read.
        ValueError: it is a Git LFS pointer; or, unless `lenient`, not UTF-8.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open_bytes(path))
        reader = ByteReader(decompress(file))
        head = reader.read(_HEAD)
        reader.unread(head)
        if head.startswith(_PARQUET):
            yield from parquet_rows(_seekable(file, reader, stack), lenient)
            return
        if head.startswith(_ARROW):
            yield from arrow_rows(_seekable(file, reader, stack), head.startswith(_ARROW[0]))
            return
        if head.startswith(_LFS):
            name = Path(path).name
            raise ValueError(f"{path} is a Git LFS pointer; fetch its content: git lfs pull --include '*{name}'")
        if encoding := _other_encoding(head, lenient):
            if not lenient:
                raise ValueError(f"{path} is {encoding}; save it as UTF-8")
            yield PlacedRow("lines", 1, 0, Damage(f"file in {encoding}; save it as UTF-8"))
            return
        yield from _text_rows(reader, head, str(path), is_row, lenient, max_row)


def can_split(path: str | Path) -> bool:
    """Whether parts of a file of rows can be read by `scan_part`: it is Parquet, or JSON lines, not compressed. Raises
    as `open_bytes`."""
    head = uncompressed_head(path, _HEAD)
    if head.startswith(_PARQUET):
        return True
    line, _, rest = head.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
    objects = line.startswith(b"{") and rest.lstrip().startswith(b"{")
    return objects and not _is_cut(line, rest) and not _other_encoding(head, lenient=True)


def scan_part(path: str | Path, part: Part, max_row: int = MAX_ROW) -> Iterator[PlacedRow]:
    """The rows of a part of a file that can be split, as `scan_rows` reads them with `lenient`. Raises DiskError."""
    with open_bytes(path) as file:
        if file.read(len(_PARQUET)) == _PARQUET:
            yield from parquet_rows(file, True, part)
            return
    with read_from(path, max(part.start - 1, 0)) as reader:
        if not part.start or reader.skip_until(b"\n"):
            yield from json_lines(reader, max_row, True, part.stop)


def _seekable(file: BinaryIO, reader: ByteReader, stack: ExitStack) -> BinaryIO:
    """The content as a file that can seek, at its beginning: Parquet is read from its end."""
    if file.seekable():
        position = file.tell()
        file.seek(0)
        if file.read(len(_ARROW[0])).startswith((_PARQUET, *_ARROW)):
            file.seek(0)
            return file
        file.seek(position)
    spooled: BinaryIO = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    while piece := reader.read(_HEAD):
        spooled.write(piece)
    spooled.seek(0)
    return spooled


def _other_encoding(head: bytes, lenient: bool) -> str:
    """The encoding of a file that is not UTF-8; "" if it is, or with only a few slips. Lenient readers decode all
    encodings in which a newline is one byte."""
    zeros = [head[start : start + _FEW_ODD * 20 : 2].count(0) for start in (0, 1)]
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if head.startswith(_WIDE) or (max(zeros) > _FEW_ODD and min(zeros) == 0):
        return "UTF-16"
    if lenient or head.isascii():
        return ""
    text = head.decode("utf-8", "surrogateescape")[:-4]  # the head may end within a character
    odd = len(re.findall("[\udc80-\udcff]", text))
    valid = len(re.findall("[^\0-\x7f\udc80-\udcff]", text))  # a few bytes are valid UTF-8 by accident
    if odd < _FEW_ODD or valid > _ACCIDENTS * odd:
        return ""
    # In European languages most letters are ASCII; in others, letters of another encoding are adjacent.
    runs = re.findall(rb"[\x80-\xff]+", head)
    return "Windows-1252" if sum(map(len, runs)) < _ADJACENT * len(runs) else "in another encoding"


def _text_rows(
    reader: ByteReader, head: bytes, path: str, is_row: IsRow, lenient: bool, max_row: int
) -> Iterator[PlacedRow]:
    content = head.removeprefix(codecs.BOM_UTF8).lstrip()
    line, _, rest = content.partition(b"\n")
    if content.startswith(b"{"):
        return _objects(reader, line, rest.lstrip(), is_row, lenient, max_row)
    if content.startswith(b"["):
        lists = rest.strip() and _is_json(line)  # one per line
        return (json_lines if lists else json_values)(reader, max_row, lenient)
    delimiter = csv_delimiter(head if len(head) < _HEAD else head[: head.rfind(b"\n") + 1], path)
    return csv_rows(reader, delimiter, max_row, lenient) if delimiter else json_lines(reader, max_row, lenient)


def _objects(
    reader: ByteReader, line: bytes, rest: bytes, is_row: IsRow, lenient: bool, max_row: int
) -> Iterator[PlacedRow]:
    """The rows of a file that begins with an object: several objects, or a single one that is a row or has rows."""
    found = (json_values if _is_cut(line, rest) else json_lines)(reader, max_row, lenient)
    first: list[PlacedRow] = []
    for row in found:
        first.append(row)
        if sum(placed.value is not None for placed in first) == 2:
            break
    objects = [row.value for row in first if row.value is not None]
    single = objects[0] if len(objects) == 1 and isinstance(objects[0], dict) else {}
    lists = [name for name, value in single.items() if isinstance(value, list) and any(map(_is_object, value))]
    if not lists or is_row(single):
        return chain(first, found)
    several = BrokenRow("several lists in one object", ", ".join(map(repr, lists)))
    rows = single[lists[0]] if len(lists) == 1 else [several]
    return (
        PlacedRow("values", number, 0, not_an_object() if row is None else row) for number, row in enumerate(rows, 1)
    )


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_cut(line: bytes, rest: bytes) -> bool:
    """Whether the object that begins in this line, which `rest` follows, ends in a later line."""
    text = line.decode("utf-8", "replace").rstrip()
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos < len(text) - 1 or error.msg.startswith("Unterminated string"):
            return False
        return text.endswith("[") or rest[:1] not in (b"", b"{")
    except (ValueError, RecursionError):
        pass
    return False


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
        return True
    except (ValueError, RecursionError):
        return False
