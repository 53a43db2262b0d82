"""Parts of a file together give what the whole gives."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from tutelage.corpus.read import documents, rows, split_file
from tutelage.io.parts import Part, parts_of
from tutelage.ledger import Ledger

ROWS: list[dict[str, Any]] = [
    {"text": f"Row {number} " + "wörd " * (number % 17), "n": number} for number in range(400)
]


def read(path: Path, kind: str, parts: list[Part | None]) -> tuple[list[Any], dict[str, Any]]:
    """The documents of the parts, and the ledger."""
    ledger = Ledger("read")
    found = [document for part in parts for document in documents(str(path), ledger, kind, part=part)]
    ledger.check()
    return found, ledger.to_dict()


def json_lines(path: Path) -> None:
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in ROWS]
    lines[50], lines[51], lines[52] = b"no row", b"", '{"text": "Größe"}'.encode("latin-1")
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))


def table(path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, row_group_size=30)


def text(path: Path) -> None:
    lines = [row["text"] for row in ROWS]
    lines[100:110] = ["wörd" * 700, "x" * 1500, "", "ö" * 600]
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(("kind", "write"), [("json", json_lines), ("parquet", table), ("text", text)])
@pytest.mark.parametrize("part_bytes", [700, 2500, 9000])
def test_parts_give_what_the_whole_gives(
    kind: str, write: Callable[[Path], None], part_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "TEXT_BYTES", 512)
    monkeypatch.setattr("tutelage.corpus.read.TEXT_BYTES", 512)
    path = tmp_path / "file"
    write(path)
    parts = split_file(str(path), kind, path.stat().st_size, part_bytes)
    assert len(parts) >= 2
    whole = read(path, kind, [None])
    assert len(whole[0]) > 20
    assert read(path, kind, parts) == whole


@given(st.text(st.sampled_from("aaa\nö"), max_size=200), st.integers(4, 20), st.integers(5, 60))
def test_any_text_in_parts(content: str, unit: int, part_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "TEXT_BYTES", unit)
        patch.setattr(rows, "is_binary", lambda _: False)
        address = "memory://any-text-in-parts"
        with fsspec.open(address, "wb") as file:
            file.write(content.encode())
        size = len(content.encode())
        whole = list(documents(address, Ledger("read"), "text"))
        parts = parts_of(size, part_bytes, unit)
        split = [document for part in parts for document in documents(address, Ledger("read"), "text", part=part)]
        assert split == whole


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("json", json.dumps(ROWS).encode()),
        ("json", json.dumps({"rows": ROWS}).encode()),
        ("json", "\n".join(map(json.dumps, ROWS)).encode("utf-16")),
        ("csv", b"text\n" + b"some words\n" * 2000),
        ("json", gzip.compress("\n".join(map(json.dumps, ROWS)).encode())),
        ("text", "words\n".encode("utf-16") * 3000),
        ("html", b"<html>" + b"words " * 3000),
    ],
)
def test_other_files_are_read_whole(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert split_file(str(path), kind, len(content), 1000) == [None]
