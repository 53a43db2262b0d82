from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tutelage.text.hashing import GOLDEN, file_hash, hash_texts, splitmix64


def test_splitmix64_is_that_of_the_reference() -> None:
    # The first values of java.util.SplittableRandom with seed 0: states are multiples of the constant.
    with np.errstate(over="ignore"):
        states = np.arange(1, 4, dtype=np.uint64) * GOLDEN
    assert [hex(value) for value in splitmix64(states).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_the_hash_of_a_text_is_the_beginning_of_its_sha1() -> None:
    hashes = hash_texts(["abc", "", "\ud800"])
    assert hashes[0].tobytes() == hashlib.sha1(b"abc").digest()[:8]
    assert hashes[1] == 0
    assert hashes[2] != 0
    assert len(hash_texts([])) == 0


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("abc")
    other.write_text("abc")
    assert file_hash(one) == file_hash(other) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    other.write_text("abcd")  # read again, for it is another file now
    assert file_hash(other) != file_hash(one)
