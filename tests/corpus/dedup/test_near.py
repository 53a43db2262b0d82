from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.config import SettingsError
from tutelage.corpus.dedup.near import MinhashSettings, bucket_keys, near_clusters


def plain(text: str) -> str:
    """A text as FineWeb compares it, by the book."""
    letters = (c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    spaced = (
        " " if unicodedata.category(c)[0] in "PSZC" and unicodedata.category(c) not in ("Cn", "Co") else c
        for c in letters
    )
    return "".join("0" if unicodedata.category(c) == "Nd" else c for c in spaced)


def same(left: str, right: str) -> bool:
    keys = bucket_keys([left, right], 2, 4, 2)
    return bool((keys[0] == keys[1]).all())


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        ("It's 12:05, OK?", "it s 99 99 ok", True),
        ("Köln – Straße №7", "koln straße 0", True),
        ("a b", "ab", False),
        ("a b", "b a", False),
        ("한국", unicodedata.normalize("NFD", "한국"), True),
        ("中文 字", "中文字", True),
        ("中文字", "中文", False),
        ("\U00020001", "\U00020002", False),
    ],
)
def test_what_is_compared_of_a_text(left: str, right: str, wanted: bool) -> None:
    assert same(left, right) is wanted


@given(st.text("aB é́ß3٣,_\n中한Ｗ𝟗", max_size=12), st.text("aB é́ß3٣,_\n中한Ｗ𝟗", max_size=12))
def test_texts_are_the_same_where_they_are_by_the_book(left: str, right: str) -> None:
    def book(text: str) -> list[str]:
        return "".join(f" {c} " if c == "中" else c for c in plain(text)).split()

    assert same(left, plain(left))
    assert same(left, unicodedata.normalize("NFD", left))
    assert same(left, right) == (book(left) == book(right))


def test_pairs_are_found_at_the_rate_of_the_formula() -> None:
    rng = np.random.default_rng(7)
    pairs = 400
    for similarity in (0.6, 0.75, 0.85):
        # Sets of n-grams of width 1: of `size` words `common` are shared, so that s = common / (2 size - common).
        size = 120
        common = round(2 * size * similarity / (1 + similarity))
        exact = common / (2 * size - common)
        texts = []
        for _ in range(pairs):
            words = [f"w{number:x}" for number in rng.integers(10**6, 10**7, 2 * size - common)]
            texts += [" ".join(words[:size]), " ".join(words[size - common :])]
        keys = bucket_keys([text.translate(str.maketrans("0123456789", "ghijklmnop")) for text in texts], 1, 14, 8)
        found = (keys[::2] == keys[1::2]).any(axis=1).mean()
        expected = 1 - (1 - exact**8) ** 14
        # Four standard deviations of a share of 400.
        assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / pairs) + 0.01


def test_clusters_join_over_buckets_and_shards_and_empty_texts_stay_alone() -> None:
    buckets = [
        [np.array([1, 2, 0], np.uint64), np.array([2, 0], np.uint64)],
        [np.array([5, 6, 0], np.uint64), np.array([7, 0], np.uint64)],
        [np.array([8, 9, 0], np.uint64), np.array([8, 0], np.uint64)],
    ]
    assert near_clusters(buckets, 1 << 20).tolist() == [0, 0, 2, 0, 4]
    assert bucket_keys(["", "?!", "word"], 5, 3, 2).astype(bool).tolist() == [[False] * 3, [False] * 3, [True] * 3]


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match="each be at least 1"):
        MinhashSettings(rows=0)
