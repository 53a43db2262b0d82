from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.text.characters import FOLDED, MARKS
from tutelage.text.minhash import FUNCTIONS, agreement, band_keys, bucket_keys, clusters, near_duplicates, signatures
from tutelage.text.ngrams import ngrams
from tutelage.text.words import hash_words

TEXTS = st.lists(st.text(alphabet="ab cZ.,é日本ก\n", max_size=30), max_size=8)


def sign(texts: list[str], width: int = 3) -> np.ndarray:
    return signatures(hash_words(texts, MARKS), width)


def words(count: int, draw: random.Random) -> list[str]:
    return ["".join(draw.choices("abcdefghij", k=5)) for _ in range(count)]


def test_the_estimate_is_the_similarity_of_the_shingles() -> None:
    draw = random.Random(0)
    for share in (0.2, 0.5, 0.8):
        estimates, exact = [], []
        for _ in range(40):
            common, first, second = words(200, draw), words(200, draw), words(200, draw)
            cut = int(200 * share)
            texts = [" ".join(common[:cut] + own[: 200 - cut]) for own in (first, second)]
            a, b = (set(ngrams(hash_words([text]), 3).values.tolist()) for text in texts)
            exact.append(len(a & b) / len(a | b))
            estimates.append(float(agreement(sign(texts), np.array([0]), np.array([1]))[0]))
        # The mean of 40 estimates from 64 functions has a standard error of at most 0.01.
        assert abs(np.mean(estimates) - np.mean(exact)) < 0.04
        assert np.std(np.array(estimates) - np.array(exact)) < 2 / (2 * FUNCTIONS**0.5)


def test_near_duplicates_are_found_and_others_are_not() -> None:
    draw = random.Random(1)
    texts, expected = [], []
    for number in range(300):
        own = words(60, draw)
        texts.append(" ".join(own))
        expected.append(len(texts) - 1)
        if number % 3 == 0:  # one word of sixty is another: three of its shingles change
            own[30] = "changed"
            texts.append(" ".join(own))
            expected.append(expected[-1])
    # They are 0.9 alike; an estimate from 64 functions is below 0.7 once in a million times.
    assert near_duplicates(sign(texts), 0.7).tolist() == expected


def test_a_text_a_thousand_times_is_one_cluster_and_bands_are_few() -> None:
    texts = ["the same words again and again"] * 1000 + ["something else is said over here"]
    found = near_duplicates(sign(texts))
    assert found.tolist() == [0] * 1000 + [1000]
    assert len(list(band_keys(sign(texts)))) == 16


@given(st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), max_size=4))
def test_clusters_are_the_connected_ones(columns: list[list[int]]) -> None:
    found = clusters(12, [np.array(column, np.uint64) for column in columns], lambda a, b: np.ones(len(a), bool))
    expected = list(range(12))
    for _ in range(12):
        for column in columns:
            for one in range(12):
                for other in range(12):
                    if column[one] == column[other]:
                        expected[one] = expected[other] = min(expected[one], expected[other])
    assert found.tolist() == expected


def test_texts_without_words_and_no_texts() -> None:
    assert sign([]).shape == (0, FUNCTIONS)
    assert (sign(["", " "]) == 0xFFFF).all()
    assert near_duplicates(sign([])).tolist() == []


@given(TEXTS)
def test_many_texts_at_once_are_as_each_by_itself(texts: list[str]) -> None:
    for width in (1, 3, 13):
        assert np.array_equal(sign(texts, width), np.concatenate([sign([text], width) for text in texts] or [sign([])]))


LETTERS = str.maketrans("0123456789", "ghijklmnop")


def plain(text: str) -> str:
    """A text as FineWeb compares it, by the book."""
    letters = (c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    spaced = (
        " " if unicodedata.category(c)[0] in "PSZC" and unicodedata.category(c) not in ("Cn", "Co") else c
        for c in letters
    )
    return "".join("0" if unicodedata.category(c) == "Nd" else c for c in spaced)


def same(left: str, right: str) -> bool:
    keys = bucket_keys(hash_words([left, right], FOLDED), 2, 4, 2)
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
            names = [f"w{number:x}".translate(LETTERS) for number in rng.integers(10**6, 10**7, 2 * size - common)]
            texts += [" ".join(names[:size]), " ".join(names[size - common :])]
        keys = bucket_keys(hash_words(texts, FOLDED), 1, 14, 8)
        found = (keys[::2] == keys[1::2]).any(axis=1).mean()
        expected = 1 - (1 - exact**8) ** 14
        # Four standard deviations of a share of 400.
        assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / pairs) + 0.01


def test_texts_without_words_have_no_keys() -> None:
    found = bucket_keys(hash_words(["", "?!", "word"], FOLDED), 5, 3, 2).astype(bool).tolist()
    assert found == [[False] * 3, [False] * 3, [True] * 3]
