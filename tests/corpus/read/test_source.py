from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zlib
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.read import source as sources
from tutelage.corpus.read.source import CHUNK, Damage, Source, open_bytes, unpack
from tutelage.files import DiskError

CONTENTS = st.binary(max_size=300) | st.integers(0, 3 * CHUNK).map(lambda size: random.Random(size).randbytes(size))


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, "zstd", asbytes=True)


PACKERS = {"plain": bytes, "gz": gzip.compress, "zst": zstd, "bz2": bz2.compress, "xz": lzma.compress}


def read_all(content: bytes) -> tuple[bytes, list[Damage]]:
    """All that can be read, over every damage, and the damages."""
    source, parts, damages = Source(unpack(io.BytesIO(content))), [], []
    while True:
        while piece := source.read(1000):
            parts.append(piece)
        if source.damage:
            damages.append(source.damage)
        if not source.resume():
            return b"".join(parts), damages


@pytest.mark.parametrize("packer", PACKERS)
@given(content=CONTENTS)
def test_what_was_packed_is_read_whatever_the_name(packer: str, content: bytes) -> None:
    if packer == "plain" and content[:2] in (b"\x1f\x8b", b"BZ", b"\x28\xb5", b"\xfd7"):
        return
    assert read_all(PACKERS[packer](content)) == (content, [])


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=6), st.integers(0, 20))
def test_members_and_zeros_behind_them_are_read_as_one(members: list[bytes], zeros: int) -> None:
    packed = b"".join(map(gzip.compress, members)) + bytes(zeros)
    assert read_all(packed) == (b"".join(members), [])


@given(st.integers(0, 9), st.data())
def test_a_damaged_member_costs_itself_and_no_other(broken: int, data: st.DataObject) -> None:
    members = [random.Random(number).randbytes(400) for number in range(10)]
    packed = [gzip.compress(member) for member in members]
    # The checksum over the content catches what still unpacks.
    place = data.draw(st.integers(12, len(packed[broken]) - 9))
    spoilt = bytearray(packed[broken])
    spoilt[place] ^= data.draw(st.integers(1, 255))
    content, damages = read_all(b"".join([*packed[:broken], bytes(spoilt), *packed[broken + 1 :]]))
    assert content == b"".join(members[:broken] + members[broken + 1 :])
    assert [damage.reason for damage in damages] == ["packed data are damaged"]


@pytest.mark.parametrize("packer", ["gz", "zst", "bz2", "xz"])
def test_a_file_that_ends_early_is_read_as_far_as_it_goes(packer: str) -> None:
    content = random.Random(1).randbytes(3 * CHUNK)
    packed = PACKERS[packer](content)
    for kept in (len(packed) // 2, len(packed) - 1):
        found, damages = read_all(packed[:kept])
        assert content.startswith(found)
        # bz2 and xz give nothing of a block before they have all of it, zst gives a third of this one.
        assert packer in ("bz2", "xz") or len(found) >= len(content) // 3
        assert [damage.reason for damage in damages] == ["packed data end early"]


@given(st.sampled_from(["gz", "zst", "bz2", "xz"]), st.binary(max_size=200))
def test_random_bytes_behind_a_right_beginning_never_raise(packer: str, noise: bytes) -> None:
    beginning = PACKERS[packer](b"some words")[:12]
    _, damages = read_all(beginning + noise)
    assert damages or packer == "zst"  # which carries no checksum, so that noise may end it well


@pytest.mark.parametrize("packer", ["gz", "zst", "bz2", "xz"])
def test_a_bomb_is_left_before_it_fills_anything(packer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BOMB_BYTES", 1 << 20)
    bomb = PACKERS[packer](bytes(40 << 20))
    content, damages = read_all(bomb)
    assert len(content) < 8 << 20
    assert [damage.reason for damage in damages] == ["unpacks to more than 200 times its size"]


def test_what_follows_a_bomb_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BOMB_BYTES", 1 << 20)
    content, damages = read_all(gzip.compress(bytes(40 << 20)) + gzip.compress(b"after"))
    assert content.endswith(b"after")
    assert len(damages) == 1


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=3), st.integers(1, 50), st.integers(1, 30))
def test_until_cuts_where_anybody_would_cut(content: bytes, mark: bytes, limit: int, piece: int) -> None:
    pieces = (content[start : start + piece] for start in range(0, len(content), piece))
    source, at = Source(iter(pieces)), 0
    while found := source.until(mark, limit):
        assert source.position == at + len(found)
        rest = content[at:]
        there = rest.find(mark)
        assert found == rest[: min(there + len(mark), limit) if there >= 0 else limit]
        at += len(found)
    assert at == len(content)


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=3), st.integers(1, 30))
def test_skip_until_stands_behind_the_next_mark(content: bytes, mark: bytes, piece: int) -> None:
    source = Source(content[start : start + piece] for start in range(0, len(content), piece))
    at = 0
    while (there := content.find(mark, at)) >= 0:
        assert source.skip_until(mark)
        at = there + len(mark)
        assert source.position == at
    assert not source.skip_until(mark)


def test_what_is_put_back_is_read_again() -> None:
    source = Source(iter([b"abc", Damage("broken", 3), b"def"]))
    assert source.read(10) == b"abc"
    source.unread(b"bc")
    assert (source.position, source.read(1)) == (1, b"b")
    assert source.until(b"x", 9) == b"c"
    assert source.damage == Damage("broken", 3)
    assert source.read(1) == b""
    assert source.resume()
    assert source.read(9) == b"def"
    assert not source.resume()


def test_a_mark_over_the_border_of_two_looks_is_found() -> None:
    content = b"x" * (CHUNK - 1) + b"<page>" + b"rest"
    source = Source(iter([content]))
    assert source.skip_until(b"<page>")
    assert source.read(9) == b"rest"


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot read .*missing"):
        open_bytes(str(tmp_path / "missing"))


def test_addresses_are_opened_by_fsspec() -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://some/file.txt", "wb") as file:
        file.write(b"from memory")
    with open_bytes("memory://some/file.txt") as file:
        assert file.read() == b"from memory"


def test_a_gzip_header_with_every_field_is_no_damage() -> None:
    machine = zlib.compressobj(wbits=-15)
    body = machine.compress(b"text") + machine.flush()
    head = b"\x1f\x8b\x08\x1c" + bytes(6) + b"\x02\x00ab" + b"name\0" + b"remark\0"
    packed = head + body + zlib.crc32(b"text").to_bytes(4, "little") + (4).to_bytes(4, "little")
    assert read_all(packed) == (b"text", [])
