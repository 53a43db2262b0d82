"""Files to rows: JSON lines, a JSON list, a JSON object that holds a list, or Parquet; plain, gzipped or zst.

What a file is stands in its first bytes, and its name says nothing. Rows come one by one, and memory does not grow with
the file.
"""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from tutelage.files import explain

LONGEST_ROW = 64 * 2**20  # bytes; a longer row is a file of another kind, and would not fit into memory
# A folder may hold a README too; a file that is named itself may have any name.
SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")

_PACKED = (".gz", ".zst")
_GZIP, _ZST, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK = 2**20  # bytes of a list that are read at a time
_PARQUET_ROWS = 256
_DETAIL_SHOWN = 200  # characters; a detail may quote the row, and a row may be long
# What decides where an element of a list ends: whole strings, brackets, and a quote whose string goes on beyond.
_MARKS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)

Row = Mapping[str, Any]


class BrokenRow(ValueError):
    """A row that is nothing to learn from. `reason` is one of a few that a ledger can count by; the message says
    more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail[:_DETAIL_SHOWN]})" if detail else reason)
        self.reason = reason


# A row with its place, why it is none, or None for a blank line.
Placed = tuple[str, Row | BrokenRow | None]


def data_files(path: Path) -> list[Path]:
    """The files that a path means: the file itself, those of a folder whose names end like rows (SUFFIXES, also .gz
    and .zst), or those that a pattern with `*` or `?` matches; by name.

    Raises:
        DiskError: there is no such file.
        ValueError: the folder or the pattern has no such file.
    """
    try:
        path.stat()
    except OSError as error:
        if not set("*?") & set(path.name):
            raise explain(error, path, "read") from error
        found = sorted(file for file in path.parent.glob(path.name) if file.is_file() and file.name[0] != ".")
        if not found:
            raise ValueError(f"no file matches {path}; check the pattern") from None
        return found
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.is_file() and _named_like_rows(file))
    if not found:
        raise ValueError(f"{path} is a folder without a file of rows ({', '.join(SUFFIXES)}); name a file")
    return found


def _named_like_rows(file: Path) -> bool:
    stem = Path(file.stem) if file.suffix in _PACKED else file
    return stem.suffix in SUFFIXES and not file.name.startswith(".")


def rows(path: Path, is_row: Callable[[Row], bool]) -> Iterator[Placed]:
    """The rows of a file. The place is "FILE:LINE" for lines and "FILE#ROW" for lists and Parquet, from 1.

    `is_row` tells a JSON object that is a row from one that holds a list of them.

    Raises:
        DiskError: the file cannot be read.
        ValueError: the file is damaged, after its rows up to there.
    """
    place = ""
    try:
        with _opened(path) as file:
            head = file.peek(16)
            content = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
            if head.startswith(_PARQUET):
                found = _parquet_rows(file, path.name)
            elif content.startswith(b"["):
                found = _list_rows(file, path.name)
            else:
                whole = _whole_object(path, is_row) if content.startswith(b"{") else None
                found = _line_rows(file, path.name) if whole is None else _object_rows(whole, path.name, is_row)
            for place, row in found:
                yield place, row
    except _Damaged as error:
        raise ValueError(f"{path} is damaged {_after(place)} ({error}); fetch or compress it again") from error
    except OSError as error:
        raise explain(error, path, "read") from error


class _Damaged(Exception):
    pass


def _after(place: str) -> str:
    if not place:
        return "before its first row"
    line = re.fullmatch(r".*([:#])(\d+)", place, re.DOTALL)
    assert line, place
    return f"after {'line' if line[1] == ':' else 'row'} {line[2]}"


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """The file, unpacked; _Damaged, also from within the block, where that fails."""
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        head = raw.peek(4)
        file: Any = raw
        try:
            if head.startswith(_GZIP):
                file = stack.enter_context(gzip.GzipFile(fileobj=raw))
            elif head.startswith(_ZST):
                import pyarrow as pa  # type: ignore[import-untyped]  # takes a while, and few files need it

                file = stack.enter_context(io.BufferedReader(pa.CompressedInputStream(raw, "zstd"), _CHUNK))
            yield file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _Damaged(error) from error
        except OSError as error:
            # The system's own refusals carry a number; pyarrow's words for a damaged stream do not.
            if error.errno is None:
                raise _Damaged(error) from error
            raise


def decode(line: bytes) -> Row:
    """The JSON object that a row is; BrokenRow if it is none."""
    try:
        row = msgspec.json.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BrokenRow("invalid UTF-8", f"byte {error.start}") from error
    except msgspec.DecodeError as error:
        raise BrokenRow("not JSON", str(error)) from error
    except RecursionError as error:
        raise BrokenRow("not JSON", "nested too deep") from error
    return _object(row)


def _object(row: object) -> Row:
    if not isinstance(row, dict):
        raise BrokenRow("not a JSON object", "a row is {...}, with named fields")
    return row


def _decoded(line: bytes) -> Row | BrokenRow:
    try:
        return decode(line)
    except BrokenRow as error:
        return error


def _too_long() -> BrokenRow:
    return BrokenRow(f"longer than {LONGEST_ROW // 2**20} MiB")


def _line_rows(file: IO[bytes], name: str) -> Iterator[Placed]:
    number = 0
    while line := file.readline(LONGEST_ROW + 1):
        number += 1
        place = f"{name}:{number}"
        if len(line) > LONGEST_ROW:
            while line and not line.endswith(b"\n"):
                line = file.readline(_CHUNK)
            yield place, _too_long()
            continue
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        yield place, None if line.isspace() or not line else _decoded(line)


def _list_rows(file: IO[bytes], name: str) -> Iterator[Placed]:
    """The elements of one JSON list, without holding it: only where each ends is looked for, and each decoded apart,
    so that a broken one breaks no other."""
    number = depth = scanned = 0
    start = 0  # in `held`, of the element being read, or of what stands between two
    held = b""
    closed = False
    while not closed:
        chunk = file.read(max(_CHUNK, len(held)))  # ever more, so that a long string is looked through only a few times
        if not chunk:
            raise _Damaged("the list is not closed")
        held = held[start:] + chunk
        scanned, start = scanned - start, 0
        for mark in _MARKS.finditer(held, scanned):
            scanned = mark.start()
            match held[scanned]:
                case 0x22:  # a quote
                    if mark.end() - scanned == 1:
                        break  # its string ends in what is not yet read
                case 0x5B | 0x7B:
                    depth += 1
                    if depth <= 2:
                        for _ in _scalars(held[start:scanned]) if depth == 2 else ():
                            number += 1
                            yield f"{name}#{number}", _scalar()
                        start = scanned + (depth == 1)
                case _:
                    depth -= 1
                    if depth == 1:
                        number += 1
                        row = held[start : mark.end()]
                        yield f"{name}#{number}", _decoded(row) if len(row) <= LONGEST_ROW else _too_long()
                        start = mark.end()
                    elif depth == 0:
                        for _ in _scalars(held[start:scanned]):
                            number += 1
                            yield f"{name}#{number}", _scalar()
                        closed = True
            scanned = mark.end()
            if closed:
                break
        else:
            scanned = len(held)
        if len(held) - start > LONGEST_ROW and not closed:
            raise _Damaged(f"row {number + 1} is longer than {LONGEST_ROW // 2**20} MiB, or a quote or bracket is lost")
    if held[scanned:].strip() or file.read(_CHUNK).strip():
        raise _Damaged("there is more after the end of its list")  # who knows how many rows


def _scalars(between: bytes) -> list[bytes]:
    """What stands in a list beside objects and lists: numbers, words and strings."""
    return _MARKS.sub(b"0", between).replace(b",", b" ").split()


def _scalar() -> BrokenRow:
    return BrokenRow("not a JSON object", "a row is {...}, with named fields")


def _whole_object(path: Path, is_row: Callable[[Row], bool]) -> Row | None:
    """The file as one JSON object, where it is one, over several lines or beside which there is no other; None where
    it is lines, or longer than a row may be."""
    try:
        with _opened(path) as file:
            line = file.readline(LONGEST_ROW + 1)
            while line and not line.removeprefix(_BYTE_ORDER_MARK).strip():
                line = file.readline(LONGEST_ROW + 1)
            first = _decoded(line.removeprefix(_BYTE_ORDER_MARK))
            if not isinstance(first, BrokenRow) and (is_row(first) or not _lists(first)):
                return None
            content = line + file.read(LONGEST_ROW + 1 - len(line))
    except _Damaged:
        return None  # read as lines, the rows before the damage come first
    whole = _decoded(content.removeprefix(_BYTE_ORDER_MARK)) if len(content) <= LONGEST_ROW else None
    return None if isinstance(whole, BrokenRow) else whole


def _object_rows(whole: Row, name: str, is_row: Callable[[Row], bool]) -> Iterator[Placed]:
    if is_row(whole):
        yield f"{name}#1", whole
        return
    lists = _lists(whole)
    if not lists:
        yield f"{name}#1", whole  # a row, if a broken one; its reader says which fields it knows
        return
    if len(lists) > 1:
        yield f"{name}#1", BrokenRow("several lists in one object", ", ".join(map(repr, lists)))
        return
    for number, row in enumerate(whole[lists[0]], 1):
        yield f"{name}#{number}", row if isinstance(row, dict) else _scalar()


def _lists(whole: Row) -> list[str]:
    return [field for field, value in whole.items() if isinstance(value, list) and value]


def _parquet_rows(file: IO[bytes], name: str) -> Iterator[Placed]:
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    number = 0
    with tempfile.TemporaryFile() as unpacked:
        if not isinstance(file, io.BufferedReader) or not isinstance(file.raw, io.FileIO):
            shutil.copyfileobj(file, unpacked)  # Parquet is read from its end, to which a packed file cannot jump
            file = unpacked
        try:
            table = pq.ParquetFile(file)
            nested = any(pa.types.is_nested(column.type) for column in table.schema_arrow)
            for batch in table.iter_batches(_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{name}#{number}", _without_nulls(row) if nested else row
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise _Damaged(error) from error


def _without_nulls(value: Any) -> Any:
    # All structures of a column have all fields that any of them has, and null stands for those that a row had not.
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
