"""Streaming readers of tables: Parquet, Arrow, CSV and TSV. An empty cell is a field that the row does not have."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from tutelage.files import DiskError
from tutelage.io.byte_reader import ByteReader
from tutelage.io.decode import decode
from tutelage.io.decompress import BOMB, Damage, is_bomb
from tutelage.io.parts import Part
from tutelage.io.row import BrokenRow, PlacedRow, repeated, too_large

DELIMITERS = ",\t;"
_GROUP_BYTES = 4 << 30  # limit of a decompressed Parquet row group; 128 MiB is usual
_BATCH_ROWS, _BATCH_BYTES = 256, 256 << 20  # of a Parquet file, read at once
_ROWS_INSPECTED = 20  # to tell a table from text with commas
_LONGEST_NAME = 64  # characters of a column's name
_ESCAPED = re.compile("[\udc80-\udcff]")  # invalid UTF-8 bytes, as surrogateescape


def parquet_rows(file: BinaryIO, lenient: bool, part: Part | None = None) -> Iterator[PlacedRow]:
    """The rows of a Parquet file that can seek, or of the row groups that begin in a part of it. A row group that
    cannot be read is a Damage of its `lost` rows, and so is, with `lenient`, the rest of a table that is a
    decompression bomb."""
    import pyarrow as pa  # type: ignore[import-untyped]  # slow to import, and few files need it
    from pyarrow import parquet

    unreadable = (pa.ArrowException, OSError, ValueError)
    try:
        size = file.seek(0, os.SEEK_END)
        schema = parquet.read_schema(file)
        strings = (pa.string(), pa.large_string())
        texts = [field.name for field in schema if field.type in strings]
        table, peek = parquet.ParquetFile(file), parquet.ParquetFile(file, read_dictionary=texts)
        groups = table.metadata.num_row_groups
    except DiskError:
        raise
    except unreadable:
        if part is None or not part.start:
            yield PlacedRow("parquet", 1, 0, Damage("not a Parquet file, or truncated"))
        return
    number = characters = 0
    for group in range(groups):
        about = table.metadata.row_group(group)
        left = about.num_rows
        if part is not None and not part.start <= _begin(about) < part.stop:
            number += left
            continue
        try:
            if about.total_byte_size > _GROUP_BYTES:
                raise ValueError("row group too large")
            for batch in table.iter_batches(batch_size=_batch_rows(peek, group), row_groups=[group]):
                for row in batch.to_pylist():
                    number += 1
                    left -= 1
                    characters += sum(len(value) for value in row.values() if isinstance(value, str))
                    yield PlacedRow("parquet", number, 0, _without_nulls(row))
                    if lenient and is_bomb(characters, size):
                        rest = max(1, table.metadata.num_rows - number)
                        yield PlacedRow("parquet", number + 1, 0, Damage(BOMB, lost=rest))
                        return
            if left > 0:
                raise ValueError("fewer rows than declared")
        except DiskError:
            raise
        except unreadable:
            left = max(1, min(left, size))  # the row count itself may be corrupt
            yield PlacedRow("parquet", number + 1, 0, Damage("unreadable row group", lost=left))
            number += left


def _begin(group: Any) -> int:
    """The first byte of a row group: of the dictionary, or of the data, of its first column."""
    column = group.column(0)
    begins = (column.dictionary_page_offset, column.data_page_offset)
    return min(begin for begin in begins if begin is not None)


def arrow_rows(file: BinaryIO, random_access: bool) -> Iterator[PlacedRow]:
    """The rows of an Arrow file (`random_access`) or stream. Where it cannot be read on, a Damage ends them."""
    import pyarrow as pa

    number = 0
    try:
        reader = pa.ipc.open_file(file) if random_access else pa.ipc.open_stream(file)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if random_access else reader
        for batch in batches:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                for row in batch.slice(start, _BATCH_ROWS).to_pylist():
                    number += 1
                    yield PlacedRow("arrow", number, 0, _without_nulls(row))
    except DiskError:
        raise
    except (pa.ArrowException, OSError, ValueError):
        yield PlacedRow("arrow", number + 1, 0, Damage("not an Arrow file, or truncated"))


def _batch_rows(table: Any, group: int) -> int:
    """How many rows of a row group may be read at once. A dictionary-encoded text is stored once but decoded for every
    row, so a small file could fill the memory. `table` reads such columns as dictionaries."""
    from pyarrow import compute

    longest = 1
    first = next(table.iter_batches(batch_size=1, row_groups=[group]), None)
    for column in first.columns if first is not None else ():
        if hasattr(column, "dictionary"):
            longest = max(longest, compute.max(compute.binary_length(column.dictionary)).as_py() or 0)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // longest))


def _without_nulls(value: Any) -> Any:
    # All structs of a Parquet column have the same fields; null means that the row had no such field.
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def csv_delimiter(head: bytes, name: str) -> str | None:
    """The delimiter of a table that begins with these lines: the most frequent of DELIMITERS in its header. None if it
    is no table: not named so, and without first rows of as many cells as a header of different names."""
    lines = list(io.StringIO(head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace"), newline=""))
    if not lines:
        return None
    delimiter = max(DELIMITERS, key=lines[0].count)
    if re.search(r"\.[ct]sv(\.\w+)?$", name.lower()):
        return delimiter
    if delimiter not in lines[0] or any(line.lstrip()[:1] in ("{", "[") for line in lines[:2]):
        return None
    rows: list[list[str]] = []
    try:
        for cells in csv.reader(lines, delimiter=delimiter, strict=True):
            rows.append(cells)
            if len(rows) == _ROWS_INSPECTED:
                break
    except csv.Error:  # also where the head ends inside of a cell
        pass
    header = rows[0] if rows else []
    names = {cell.strip() for cell in header}
    if len(names) < len(header) or "" in names or max(map(len, names), default=0) > _LONGEST_NAME:
        return None
    return delimiter if len(rows) > 1 and {len(cells) for cells in rows if cells} == {len(header)} else None


def csv_rows(reader: ByteReader, delimiter: str, max_row: int, lenient: bool) -> Iterator[PlacedRow]:
    """The rows of a table with a header; all values are strings. Cells in quotes may hold newlines."""
    csv.field_size_limit(max_row)
    header: list[str] | None = None
    number = 0
    while True:
        rows = csv.reader(_lines(reader, max_row), delimiter=delimiter, strict=True)
        while True:
            value: Any = None
            remark = ""
            try:
                cells = next(rows)
                if cells and header is None:
                    header = [name.strip() for name in _decoded(cells, lenient)[0]]
                    continue
                if cells:
                    value, remark = _table_row(header or [], cells, lenient)
            except StopIteration:
                break
            except csv.Error as error:
                value = too_large(max_row) if "limit" in str(error) else BrokenRow("not CSV", str(error))
            except BrokenRow as error:
                value = error
            number += 1
            yield PlacedRow("csv", number, 0, value, remark)
        if reader.damage:
            yield PlacedRow("csv", number, 0, reader.damage)
        if not reader.resume():
            return


def _lines(reader: ByteReader, max_row: int) -> Iterator[str]:
    first = reader.position == 0
    for line in reader.lines(max_row):
        yield (line.removeprefix(codecs.BOM_UTF8) if first else line).decode("utf-8", "surrogateescape")
        first = False


def _decoded(cells: Sequence[str], lenient: bool) -> tuple[list[str], str]:
    if not any(not cell.isascii() and _ESCAPED.search(cell) for cell in cells):
        return list(cells), ""
    if not lenient:
        raise BrokenRow("invalid UTF-8")
    texts = [decode(cell.encode("utf-8", "surrogateescape"))[0] for cell in cells]
    return texts, "CSV not in UTF-8"


def _table_row(header: Sequence[str], cells: Sequence[str], lenient: bool) -> tuple[dict[str, str], str]:
    if len(cells) != len(header):
        raise BrokenRow("wrong number of cells", f"{len(cells)}; the header has {len(header)}")
    texts, remark = _decoded(cells, lenient)
    row: dict[str, str] = {}
    for name, text in zip(header, texts, strict=True):
        if not text:
            continue
        if not lenient and row.get(name, text) != text:
            raise repeated(name)
        row[name] = text
    return row, remark
