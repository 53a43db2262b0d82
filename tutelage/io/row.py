"""What the readers of rows yield: rows with their places, and the reasons of rows that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from tutelage.io.decompress import Damage

Row = Mapping[str, Any]

_DETAIL_SHOWN = 200  # characters; a detail may quote the row, and a row may be long


class BrokenRow(ValueError):
    """A row that cannot be used. `reason` is one of a few, for a ledger; the message has details."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail[:_DETAIL_SHOWN]})" if detail else reason)
        self.reason = reason


class PlacedRow(msgspec.Struct, gc=False):
    """One item of a file.

    layout: how the file stores rows; a row of "values" is an element of a list, or one of several JSON values.
    number: from 1, of the line or of the row.
    offset: of a line in the decompressed file, in bytes; 0 in other layouts.
    value:  the row, mostly a dict; None for a blank line.
    remark: how the row was corrected, for a ledger.
    """

    layout: Literal["lines", "values", "parquet", "arrow", "csv"]
    number: int
    offset: int
    value: Any | BrokenRow | Damage | None
    remark: str = ""


def not_an_object() -> BrokenRow:
    """The reason for a row that is no JSON object."""
    return BrokenRow("not a JSON object", "a row must be {...}")


def too_large(limit: int) -> BrokenRow:
    """The reason for a row of more than `limit` bytes."""
    return BrokenRow(f"larger than {limit >> 20} MiB")


def repeated(name: str) -> BrokenRow:
    """The reason for an object that has a field twice, with different values: a decoder keeps only the last of them."""
    return BrokenRow("a field twice, with different values", f"{name[:40]!r}; keep one of the two values")


def texts_in(value: Any) -> Iterator[str]:
    """Every string in a row, also in nested lists and objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_in(inner)
