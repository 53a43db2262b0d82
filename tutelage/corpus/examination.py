"""Reads benchmark files (questions, prompts, texts with answers) as items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.files import DiskError
from tutelage.io.byte_reader import read_bytes
from tutelage.io.data_files import COMPRESSED, SUFFIXES
from tutelage.io.decompress import CHUNK, Damage
from tutelage.io.row import BrokenRow, texts_in
from tutelage.io.rows import scan_rows


class Item(NamedTuple):
    """One benchmark item: its texts, and its place as "file:row"."""

    texts: tuple[str, ...]
    name: str


def read_items(path: Path, fields: Sequence[str] | None = None) -> Iterator[Item]:
    """The items of a file: rows of JSON lines, JSON, CSV, TSV or Parquet; by any other name, paragraphs of text. The
    texts of an item are the named fields, or all fields that hold text, including nested lists and objects.

    Raises:
        ValueError: the file is missing or damaged, has a broken row, has no rows, or has none of the fields.
    """
    found = False
    for number, row in enumerate(_rows(path), 1):
        if fields is not None and isinstance(row, dict):
            row = [row[field] for field in fields if field in row]
        texts = tuple(text for text in texts_in(row) if text.strip())
        if texts:
            found = True
            yield Item(texts, f"{path.name}:{number}")
    if not found:
        wanted = f" in the fields {', '.join(fields)}" if fields else ""
        raise ValueError(f"against: {path} has no text{wanted}; name a benchmark file, and the fields of its items")


def _rows(path: Path) -> Iterator[Any]:
    name = path.name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    try:
        if not name.endswith(SUFFIXES):
            yield from _paragraphs(path)
            return
        for row in scan_rows(path, lambda row: False):
            if isinstance(row.value, Damage | BrokenRow):
                problem = row.value.reason if isinstance(row.value, Damage) else str(row.value)
                raise ValueError(f"{path}, row {row.number}: {problem}; correct it")
            if row.value is not None:
                yield row.value
    except (DiskError, ValueError) as error:
        raise ValueError(f"against: {error}") from error


def _paragraphs(path: Path) -> list[str]:
    with read_bytes(path) as reader:
        content = b"".join(iter(lambda: reader.read(CHUNK), b""))
        if reader.damage:
            raise ValueError(f"{path}, byte {reader.damage.at}: {reader.damage.reason}; download it again")
    try:
        return content.decode("utf-8-sig").split("\n\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, byte {error.start}: not UTF-8; save the file as UTF-8") from error
