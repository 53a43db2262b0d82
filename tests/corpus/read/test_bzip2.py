from __future__ import annotations

import bz2
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.read import bzip2 as module
from tutelage.corpus.read.packed import Damage
from tutelage.corpus.read.unpack import unpack


def read_all(content: bytes) -> tuple[bytes, list[Damage]]:
    """All that can be read, over every damage, and the damages."""
    pieces = list(unpack(io.BytesIO(content)))
    damages = [piece for piece in pieces if isinstance(piece, Damage)]
    return b"".join(piece for piece in pieces if isinstance(piece, bytes)), damages


@given(st.lists(st.integers(0, 99_000), min_size=1, max_size=3), st.integers(1, 9), st.booleans())
def test_streams_of_any_block_size_are_read_block_by_block(sizes: list[int], level: int, dense: bool) -> None:
    made = [random.Random(size).randbytes(size) if dense else b"to and fro " * (size * 3 // 11) for size in sizes]
    packed = b"".join(bz2.compress(one, level) for one in made)
    assert read_all(packed) == (b"".join(made), [])


def test_a_block_that_swells_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HELD", 1 << 20)
    found = unpack(io.BytesIO(bz2.compress(bytes(30 << 20))))
    assert sum(map(len, found)) == 30 << 20


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_damaged_block_of_a_bz2_stream_costs_itself(share: float) -> None:
    content = random.Random(3).randbytes(150_000).hex().encode()  # three blocks of a hundred thousand
    packed = bz2.compress(content, 1)
    at = int(len(packed) * share)
    found, damages = read_all(packed[:at] + bytes([packed[at] ^ 16]) + packed[at + 1 :])
    assert [damage.reason for damage in damages] == ["corrupt compressed data"]
    assert len(packed) // 4 < damages[0].lost < len(packed) // 2
    assert 190_000 < len(found) < 210_000
    before = next(at for at in range(len(found)) if found[at] != content[at])
    assert before // 90_000 == {0.1: 0, 0.5: 1, 0.9: 2}[share]
    assert content.endswith(found[before:])
    pieces = list(unpack(io.BytesIO(packed[:at] + bytes([packed[at] ^ 16]) + packed[at + 1 :])))
    (place,) = [number for number, piece in enumerate(pieces) if isinstance(piece, Damage)]
    assert sum(map(len, pieces[:place])) == before  # it is told where it stands


def test_a_bz2_block_whose_beginning_is_damaged_is_told() -> None:
    content = random.Random(3).randbytes(150_000).hex().encode()
    packed = bz2.compress(content, 1)
    for at in (5, 14):  # in the mark of the block, and in what follows it
        found, damages = read_all(packed[:at] + bytes([packed[at] ^ 255]) + packed[at + 1 :])
        assert content.endswith(found)
        assert len(found) > 190_000
        assert len(damages) == 1
