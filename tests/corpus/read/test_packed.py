from __future__ import annotations

import io
import re

from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.read.packed import LOOK_BACK, Packed


@given(st.binary(max_size=300), st.lists(st.integers(0, 60), max_size=20))
def test_what_was_read_can_be_read_again(content: bytes, sizes: list[int]) -> None:
    packed, at = Packed(io.BytesIO(content)), 0
    for size in sizes:
        assert packed.peek(size) == content[at : at + size]
        assert packed.read(size) == content[at : at + size]
        at = min(len(content), at + size)
        assert packed.position == at
        if size % 3 == 0:
            at //= 2
            packed.go_back(at)


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=2), st.integers(0, 3))
def test_a_mark_is_found_where_it_stands(content: bytes, mark: bytes, blocks: int) -> None:
    content = b"\0" * (blocks * LOOK_BACK - 1 if blocks else 0) + content
    packed, pattern = Packed(io.BytesIO(content)), re.compile(re.escape(mark))
    there = content.find(mark)
    assert packed.find(pattern) == (there >= 0)
    assert packed.position == (there if there >= 0 else len(content))


def test_the_rest_comes_whole_from_wherever_one_stands() -> None:
    content = bytes(range(256)) * 3000
    packed = Packed(io.BytesIO(content))
    packed.read(77)
    assert b"".join(packed.rest()) == content[77:]
