from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.files import DiskError
from tutelage.io.byte_reader import ByteReader, go_on
from tutelage.io.decompress import CHUNK, Damage
from tutelage.io.open import open_bytes
from tutelage.ledger import Ledger


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=3), st.integers(1, 50), st.integers(1, 30))
def test_until_cuts_where_anybody_would_cut(content: bytes, mark: bytes, limit: int, piece: int) -> None:
    pieces = (content[start : start + piece] for start in range(0, len(content), piece))
    reader, at = ByteReader(iter(pieces)), 0
    while found := reader.until(mark, limit):
        assert reader.position == at + len(found)
        rest = content[at:]
        there = rest.find(mark)
        assert found == rest[: min(there + len(mark), limit) if there >= 0 else limit]
        at += len(found)
    assert at == len(content)


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=3), st.integers(1, 30))
def test_skip_until_stands_behind_the_next_mark(content: bytes, mark: bytes, piece: int) -> None:
    reader = ByteReader(content[start : start + piece] for start in range(0, len(content), piece))
    at = 0
    while (there := content.find(mark, at)) >= 0:
        assert reader.skip_until(mark)
        at = there + len(mark)
        assert reader.position == at
    assert not reader.skip_until(mark)


def test_what_is_put_back_is_read_again() -> None:
    reader = ByteReader(iter([b"abc", Damage("broken", 3, 9), b"def"]))
    assert reader.read(10) == b"abc"
    reader.unread(b"bc")
    assert (reader.position, reader.read(1)) == (1, b"b")
    assert reader.until(b"x", 9) == b"c"
    assert reader.damage == Damage("broken", 3, 9)
    assert reader.read(1) == b""
    assert reader.resume()
    assert reader.read(9) == b"def"
    assert not reader.resume()


def test_a_mark_over_the_border_of_two_looks_is_found() -> None:
    content = b"x" * (CHUNK - 1) + b"<page>" + b"rest"
    reader = ByteReader(iter([content]))
    assert reader.skip_until(b"<page>")
    assert reader.read(9) == b"rest"


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot read .*missing"):
        open_bytes(str(tmp_path / "missing"))


def test_addresses_are_opened_by_fsspec() -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://some/file.txt", "wb") as file:
        file.write(b"from memory")
    with open_bytes("memory://some/file.txt") as file:
        assert file.read() == b"from memory"


def test_a_damage_is_counted_with_its_place_and_its_bytes() -> None:
    reader, ledger = (
        ByteReader(iter([b"abc", Damage("broken", 7, 2000), b"def", Damage("ends", 99, 0)])),
        Ledger("read"),
    )
    assert reader.read(9) == b"abc"
    assert go_on(reader, "file", ledger)
    assert reader.read(9) == b"def"
    assert not go_on(reader, "file", ledger)
    assert {reason: dropped.examples for reason, dropped in ledger.dropped.items()} == {
        "broken": ["file:7 (2,000 compressed bytes)"],
        "ends": ["file:99"],
    }
    assert {what: note.rows for what, note in ledger.noted.items()} == {"compressed bytes lost": 2000}
    ledger.check()
