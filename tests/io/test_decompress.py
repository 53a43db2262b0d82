from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zlib

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.io import decompress as module
from tutelage.io.decompress import CHUNK, Damage, decompress

CONTENTS = st.binary(max_size=300) | st.integers(0, 3 * CHUNK).map(lambda size: random.Random(size).randbytes(size))


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, "zstd", asbytes=True)


PACKERS = {"plain": bytes, "gz": gzip.compress, "zst": zstd, "bz2": bz2.compress, "xz": lzma.compress}


def read_all(content: bytes) -> tuple[bytes, list[Damage]]:
    """All that can be read, over every damage, and the damages."""
    parts, damages = [], []
    for piece in decompress(io.BytesIO(content)):
        if isinstance(piece, Damage):
            damages.append(piece)
        else:
            assert 0 < len(piece) <= CHUNK
            parts.append(piece)
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
    assert [damage.reason for damage in damages] == ["corrupt compressed data"]


@pytest.mark.parametrize("packer", ["gz", "zst", "bz2", "xz"])
def test_a_file_that_ends_early_is_read_as_far_as_it_goes(packer: str) -> None:
    content = random.Random(1).randbytes(3 * CHUNK)
    packed = PACKERS[packer](content)
    for kept in (len(packed) // 2, len(packed) - 1):
        found, damages = read_all(packed[:kept])
        assert content.startswith(found)
        # bz2 and xz give nothing of a block before they have all of it, zst gives a third of this one.
        assert packer in ("bz2", "xz") or len(found) >= len(content) // 3
        assert [damage.reason for damage in damages] == ["truncated compressed data"]


@given(st.sampled_from(["gz", "zst", "bz2", "xz"]), st.binary(max_size=200))
def test_random_bytes_behind_a_right_beginning_never_raise(packer: str, noise: bytes) -> None:
    beginning = PACKERS[packer](b"some words")[:12]
    _, damages = read_all(beginning + noise)
    assert damages or packer == "zst"  # which carries no checksum, so that noise may end it well


@pytest.mark.parametrize("packer", ["gz", "zst", "bz2", "xz"])
def test_a_bomb_is_left_before_it_fills_anything(packer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOMB_BYTES", 1 << 20)
    bomb = PACKERS[packer](bytes(40 << 20))
    content, damages = read_all(bomb)
    assert len(content) < 8 << 20
    assert [damage.reason for damage in damages] == ["compression ratio above 200"]


def test_what_follows_a_bomb_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOMB_BYTES", 1 << 20)
    content, damages = read_all(gzip.compress(bytes(40 << 20)) + gzip.compress(b"after"))
    assert content.endswith(b"after")
    assert len(damages) == 1


def hurt(packed: bytes, share: float) -> bytes:
    """With twelve bytes overwritten."""
    at = int(len(packed) * share)
    return packed[:at] + b"\xa5" * 12 + packed[at + 12 :]


@pytest.mark.parametrize("packer", ["gz", "zst", "bz2", "xz"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [500, 20_000, 300_000])
def test_what_stands_behind_a_damaged_part_is_read(packer: str, share: float, size: int) -> None:
    parts = [random.Random(number).randbytes(size // 2).hex().encode() for number in range(4)]
    packed = [PACKERS[packer](part) for part in parts]
    if packer == "zst" and share:  # most of its bytes are not checked; how they are cut into blocks is
        first = 9 if size < 20_000 else 12
        packed[1] = packed[1][:first] + b"\xff" * 3 + packed[1][first + 3 :]
    else:
        packed[1] = hurt(packed[1], share)
    content, damages = read_all(b"".join(packed))
    assert content.startswith(parts[0])
    assert content.endswith(parts[2] + parts[3])
    assert len(damages) == 1
    begin, end = len(packed[0]), len(packed[0] + packed[1])
    assert begin <= damages[0].at < end
    stop = damages[0].at + damages[0].lost
    assert stop == end or (packer == "bz2" and begin < stop < end)  # what ends its stream may be sound


@pytest.mark.parametrize("packer", ["gz", "zst", "bz2", "xz"])
def test_a_damage_is_told_where_it_stands(packer: str) -> None:
    parts = [random.Random(number).randbytes(70_000).hex().encode() for number in range(3)]
    packed = [bz2.compress(part, 1) if packer == "bz2" else PACKERS[packer](part) for part in parts]
    packed[1] = packed[1][:9] + b"\xff" * 9 + packed[1][18:]
    found = list(decompress(io.BytesIO(b"".join(packed))))
    (place,) = [number for number, piece in enumerate(found) if isinstance(piece, Damage)]
    before = b"".join(piece for piece in found[:place] if isinstance(piece, bytes))
    assert before == parts[0] or (packer == "gz" and (parts[0] + parts[1]).startswith(before))
    behind = b"".join(piece for piece in found[place:] if isinstance(piece, bytes))
    assert behind == parts[2] or (packer == "bz2" and (parts[1] + parts[2]).endswith(behind))


def test_frames_of_zst_that_hold_nothing_are_skipped() -> None:
    empty = b"\x5a\x2a\x4d\x18" + (100_000).to_bytes(4, "little") + bytes(100_000)
    packed = empty + zstd(b"one") + empty + zstd(b"two") + empty
    assert read_all(packed) == (b"onetwo", [])
    content, damages = read_all(packed[:-5])
    assert content == b"onetwo"
    assert [damage.reason for damage in damages] == ["truncated compressed data"]


def test_xz_that_asks_for_too_much_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_XZ_MEMORY", 1 << 20)
    content, damages = read_all(lzma.compress(b"words", preset=9) + lzma.compress(b"more", preset=0))
    assert (content, len(damages)) == (b"more", 1)
    assert damages[0].reason == "decompression needs too much memory"


@pytest.mark.parametrize("packer", ["gz", "zst", "bz2", "xz"])
def test_many_small_bombs_are_one_large_one(packer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOMB_BYTES", 1 << 20)
    packed = PACKERS[packer](bytes(900_000)) * 400
    content, damages = read_all(packed)
    assert len(content) < 32 << 20  # of 343 MiB
    assert sum(damage.lost for damage in damages) > len(packed) // 2
    assert {damage.reason for damage in damages} == {"compression ratio above 200"}


@pytest.mark.parametrize("packer", ["gz", "zst", "bz2", "xz"])
@given(data=st.data())
def test_wherever_a_file_is_cut_its_beginning_is_read(packer: str, data: st.DataObject) -> None:
    parts = [random.Random(number).randbytes(150).hex().encode() for number in range(4)]
    packed = [PACKERS[packer](part) for part in parts]
    cut = data.draw(st.integers(17, sum(map(len, packed)) - 1))
    content, damages = read_all(b"".join(packed)[:cut])
    whole = next(n for n in range(4) if sum(map(len, packed[: n + 1])) > cut)
    assert content.startswith(b"".join(parts[:whole]))
    assert b"".join(parts).startswith(content)
    assert bool(damages) == (cut > sum(map(len, packed[:whole])))


def test_a_gzip_header_with_every_field_is_no_damage() -> None:
    machine = zlib.compressobj(wbits=-15)
    body = machine.compress(b"text") + machine.flush()
    head = b"\x1f\x8b\x08\x1c" + bytes(6) + b"\x02\x00ab" + b"name\0" + b"remark\0"
    packed = head + body + zlib.crc32(b"text").to_bytes(4, "little") + (4).to_bytes(4, "little")
    assert read_all(packed) == (b"text", [])


def lz4(content: bytes) -> bytes:
    with pyarrow.CompressedOutputStream(sink := pyarrow.BufferOutputStream(), "lz4") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def test_lz4_is_read_up_to_its_damage() -> None:
    content = b"".join(b"line %d of words\n" % number for number in range(30_000))
    assert b"".join(decompress(io.BytesIO(lz4(content[:999]) + lz4(content[999:])))) == content
    *pieces, damage = decompress(io.BytesIO(lz4(content)[:70_000]))
    assert content.startswith(b"".join(pieces)) and len(b"".join(pieces)) > 100_000
    assert damage == Damage("truncated compressed data", 70_000)
    whole = lz4(content)
    *pieces, damage = decompress(io.BytesIO(whole[:300] + b"\xff" * 64 + whole[364:]))
    assert isinstance(damage, Damage) and damage.at + damage.lost == len(whole)
    assert content.startswith(b"".join(pieces))


def test_lz4_bomb_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOMB_BYTES", 1 << 20)
    *pieces, damage = decompress(io.BytesIO(lz4(bytes(60 << 20))))
    assert isinstance(damage, Damage) and damage.reason == "compression ratio above 200"
    assert sum(map(len, pieces)) < 20 << 20


@pytest.mark.parametrize("packed", [False, True])
def test_zst_with_its_dictionary_in_the_first_frame(packed: bool) -> None:
    """.warc.zst of the Internet Archive: every frame needs the dictionary."""
    zstd = pytest.importorskip("compression.zstd" if module.sys.version_info >= (3, 14) else "backports.zstd")
    records = [b"WARC/1.0 record %d of a site with words and words" % number for number in range(1000)]
    dictionary = zstd.train_dict(records, 2000)
    content = zstd.compress(dictionary.dict_content) if packed else dictionary.dict_content
    first = b"\x5d\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content
    frames = b"".join(zstd.compress(record, zstd_dict=dictionary) for record in records)
    assert b"".join(decompress(io.BytesIO(first + frames))) == b"".join(records)
    found = list(decompress(io.BytesIO(frames)))  # without it, nothing can be read, and that is said
    assert all(isinstance(piece, Damage) for piece in found)
