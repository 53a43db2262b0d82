"""Reads benchmark files (questions, prompts, texts with answers) as items."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_PACKED = {".gz": "gzip", ".zst": "zstd"}


class Item(NamedTuple):
    """One benchmark item: its texts, and its place as "file:row"."""

    texts: tuple[str, ...]
    name: str


def read_items(path: Path, fields: Sequence[str] | None = None) -> Iterator[Item]:
    """The items of a file: rows of JSON lines, JSON, CSV, TSV or Parquet, or paragraphs of text. The texts of an item
    are the named fields, or all fields that hold text, including nested lists and objects.

    Raises:
        ValueError: the file is missing or not in the format of its name, has no rows, or has none of the fields.
    """
    found = False
    for number, row in enumerate(_rows(path), 1):
        if fields is not None and isinstance(row, dict):
            row = [row[field] for field in fields if field in row]
        texts = tuple(_texts(row))
        if texts:
            found = True
            yield Item(texts, f"{path.name}:{number}")
    if not found:
        wanted = f" in the fields {', '.join(fields)}" if fields else ""
        raise ValueError(f"against: {path} has no text{wanted}; name a benchmark file, and the fields of its items")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _rows(path: Path) -> Iterator[Any]:
    import pyarrow  # type: ignore[import-untyped]  # loading it takes a second
    from pyarrow import parquet

    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix not in _PACKED), "")
    try:
        if kind == ".parquet":
            for batch in parquet.ParquetFile(path).iter_batches():
                yield from batch.to_pylist()
            return
        with pyarrow.input_stream(str(path), compression=_PACKED.get(suffixes[-1]) if suffixes else None) as stream:
            text = stream.read().decode("utf-8-sig")
        yield from _parse(text, kind)
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise ValueError(f"against: {path} cannot be read as a benchmark ({error})") from error


def _parse(text: str, kind: str) -> Iterator[Any]:
    if kind in (".csv", ".tsv"):
        yield from csv.DictReader(io.StringIO(text), delimiter="\t" if kind == ".tsv" else ",")
    elif kind in (".jsonl", ".ndjson") or (kind == ".json" and not _is_one_value(text)):
        yield from (json.loads(line) for line in text.split("\n") if line.strip())
    elif kind == ".json":
        value = json.loads(text)
        if isinstance(value, dict) and len(value) > 0 and any(isinstance(field, list) for field in value.values()):
            # As {"examples": [...]}: the longest list holds the items.
            value = max((field for field in value.values() if isinstance(field, list)), key=len)
        yield from value if isinstance(value, list) else [value]
    else:
        yield from text.split("\n\n")


def _is_one_value(text: str) -> bool:
    """Whether a text is one JSON value. Files of JSON lines are often named .json."""
    try:
        json.loads(text)
        return True
    except json.JSONDecodeError:
        return False
