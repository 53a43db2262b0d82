"""Files to rows: JSON lines, a JSON list, a JSON object with a list, or Parquet; plain, gzipped or zst.

The first bytes of a file decide its type, not its name. Rows are streamed, so memory does not grow with the file.
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

MAX_ROW = 64 * 2**20  # bytes; a longer row means a file of another kind, and would not fit into memory
# For folders, which may have a README too; a file that is named directly may have any suffix.
SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")

_COMPRESSED = (".gz", ".zst")
_GZIP, _ZST, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CHUNK = 2**20  # bytes of a list per read
_PARQUET_ROWS = 256
_DETAIL_SHOWN = 200  # characters; a detail may quote the row, and a row may be long
# Tokens that decide where an element of a list ends: complete strings, brackets, and the quote of an incomplete string.
_DELIMITERS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}"]', re.DOTALL)

Row = Mapping[str, Any]


class BrokenRow(ValueError):
    """A row that cannot be trained on. `reason` is one of a few, for a ledger; the message has details."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail[:_DETAIL_SHOWN]})" if detail else reason)
        self.reason = reason


# The place of a row, and the row, its error, or None for a blank line.
PlacedRow = tuple[str, Row | BrokenRow | None]


def data_files(path: Path) -> list[Path]:
    """The files of a path, sorted by name: the file itself, those of a folder with one of SUFFIXES (also .gz and .zst),
    or those that match a pattern with `*` or `?`.

    Raises:
        DiskError: there is no such file.
        ValueError: the folder or the pattern has no such file.
    """
    try:
        path.stat()
    except OSError as error:
        if not set("*?") & set(path.name):
            raise explain(error, path, "read") from error
        files = sorted(file for file in path.parent.glob(path.name) if file.is_file() and file.name[0] != ".")
        if not files:
            raise ValueError(f"no file matches {path}; check the pattern") from None
        return files
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.is_file() and _is_data_file(file))
    if not files:
        raise ValueError(f"{path} is a folder without a file of rows ({', '.join(SUFFIXES)}); name a file")
    return files


def _is_data_file(file: Path) -> bool:
    stem = Path(file.stem) if file.suffix in _COMPRESSED else file
    return stem.suffix in SUFFIXES and not file.name.startswith(".")


def rows(path: Path, is_row: Callable[[Row], bool]) -> Iterator[PlacedRow]:
    """The rows of a file. The place is "FILE:LINE" for lines and "FILE#ROW" for lists and Parquet, from 1.

    `is_row` distinguishes a JSON object that is a row from one with a list of rows.

    Raises:
        DiskError: the file cannot be read.
        ValueError: the file is damaged; raised after the rows before the damage.
    """
    place = ""
    try:
        with _opened(path) as file:
            head = file.peek(16)
            content = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
            if head.startswith(_PARQUET):
                placed_rows = _parquet_rows(file, path.name)
            elif content.startswith(b"["):
                placed_rows = _list_rows(file, path.name)
            else:
                single = _single_object(path, is_row) if content.startswith(b"{") else None
                placed_rows = _line_rows(file, path.name) if single is None else _object_rows(single, path.name, is_row)
            for place, row in placed_rows:
                yield place, row
    except _Damaged as error:
        raise ValueError(f"{path} is damaged {_after(place)} ({error}); download or compress it again") from error
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
    """The decompressed file; raises _Damaged, also from within the block, where that fails."""
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        head = raw.peek(4)
        file: Any = raw
        try:
            if head.startswith(_GZIP):
                file = stack.enter_context(gzip.GzipFile(fileobj=raw))
            elif head.startswith(_ZST):
                import pyarrow as pa  # type: ignore[import-untyped]  # slow to import, and few files need it

                file = stack.enter_context(io.BufferedReader(pa.CompressedInputStream(raw, "zstd"), _CHUNK))
            yield file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _Damaged(error) from error
        except OSError as error:
            # Errors of the system have an errno; pyarrow's errors for a damaged stream do not.
            if error.errno is None:
                raise _Damaged(error) from error
            raise


def decode(line: bytes) -> Row:
    """The JSON object of a row; BrokenRow if it is none."""
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
        raise BrokenRow("not a JSON object", "a row must be {...}")
    return row


def _decoded(line: bytes) -> Row | BrokenRow:
    try:
        return decode(line)
    except BrokenRow as error:
        return error


def _too_long() -> BrokenRow:
    return BrokenRow(f"longer than {MAX_ROW // 2**20} MiB")


def _line_rows(file: IO[bytes], name: str) -> Iterator[PlacedRow]:
    number = 0
    while line := file.readline(MAX_ROW + 1):
        number += 1
        place = f"{name}:{number}"
        if len(line) > MAX_ROW:
            while line and not line.endswith(b"\n"):
                line = file.readline(_CHUNK)
            yield place, _too_long()
            continue
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        yield place, None if line.isspace() or not line else _decoded(line)


def _list_rows(file: IO[bytes], name: str) -> Iterator[PlacedRow]:
    """The elements of one JSON list, streamed: the end of each is found first, and each is decoded separately, so
    that a broken element does not affect the others."""
    number = depth = scanned = 0
    start = 0  # in `buffer`, of the current element, or of the text between two
    buffer = b""
    closed = False
    while not closed:
        chunk = file.read(max(_CHUNK, len(buffer)))  # growing, so that a long string is scanned only a few times
        if not chunk:
            raise _Damaged("the list is not closed")
        buffer = buffer[start:] + chunk
        scanned, start = scanned - start, 0
        for delimiter in _DELIMITERS.finditer(buffer, scanned):
            scanned = delimiter.start()
            match buffer[scanned]:
                case 0x22:  # a quote
                    if delimiter.end() - scanned == 1:
                        break  # the string ends in the next chunk
                case 0x5B | 0x7B:
                    depth += 1
                    if depth <= 2:
                        for _ in _scalars(buffer[start:scanned]) if depth == 2 else ():
                            number += 1
                            yield f"{name}#{number}", _scalar()
                        start = scanned + (depth == 1)
                case _:
                    depth -= 1
                    if depth == 1:
                        number += 1
                        row = buffer[start : delimiter.end()]
                        yield f"{name}#{number}", _decoded(row) if len(row) <= MAX_ROW else _too_long()
                        start = delimiter.end()
                    elif depth == 0:
                        for _ in _scalars(buffer[start:scanned]):
                            number += 1
                            yield f"{name}#{number}", _scalar()
                        closed = True
            scanned = delimiter.end()
            if closed:
                break
        else:
            scanned = len(buffer)
        if len(buffer) - start > MAX_ROW and not closed:
            raise _Damaged(f"row {number + 1} is longer than {MAX_ROW // 2**20} MiB, or a quote or bracket is lost")
    if buffer[scanned:].strip() or file.read(_CHUNK).strip():
        raise _Damaged("there is more after the end of its list")  # an unknown number of rows


def _scalars(between: bytes) -> list[bytes]:
    """The scalars in a list, between objects and lists: numbers, literals and strings."""
    return _DELIMITERS.sub(b"0", between).replace(b",", b" ").split()


def _scalar() -> BrokenRow:
    return BrokenRow("not a JSON object", "a row must be {...}")


def _single_object(path: Path, is_row: Callable[[Row], bool]) -> Row | None:
    """The file as one JSON object, if it is one; None if it is JSON lines, or longer than MAX_ROW."""
    try:
        with _opened(path) as file:
            line = file.readline(MAX_ROW + 1)
            while line and not line.removeprefix(_BYTE_ORDER_MARK).strip():
                line = file.readline(MAX_ROW + 1)
            first = _decoded(line.removeprefix(_BYTE_ORDER_MARK))
            if not isinstance(first, BrokenRow) and (is_row(first) or not _lists(first)):
                return None
            content = line + file.read(MAX_ROW + 1 - len(line))
    except _Damaged:
        return None  # read as lines, so that the rows before the damage are yielded
    single = _decoded(content.removeprefix(_BYTE_ORDER_MARK)) if len(content) <= MAX_ROW else None
    return None if isinstance(single, BrokenRow) else single


def _object_rows(single: Row, name: str, is_row: Callable[[Row], bool]) -> Iterator[PlacedRow]:
    if is_row(single):
        yield f"{name}#1", single
        return
    lists = _lists(single)
    if not lists:
        yield f"{name}#1", single  # read as a row, so that the error lists the known fields
        return
    if len(lists) > 1:
        yield f"{name}#1", BrokenRow("several lists in one object", ", ".join(map(repr, lists)))
        return
    for number, row in enumerate(single[lists[0]], 1):
        yield f"{name}#{number}", row if isinstance(row, dict) else _scalar()


def _lists(row: Row) -> list[str]:
    return [field for field, value in row.items() if isinstance(value, list) and value]


def _parquet_rows(file: IO[bytes], name: str) -> Iterator[PlacedRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    number = 0
    with tempfile.TemporaryFile() as decompressed:
        if not isinstance(file, io.BufferedReader) or not isinstance(file.raw, io.FileIO):
            shutil.copyfileobj(file, decompressed)  # Parquet is read from its end, and a compressed file cannot seek
            file = decompressed
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
    # All structs of a Parquet column have the same fields; null means that the row had no such field.
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
