from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.minhash import (
    FUNCTIONS,
    agreement,
    band_keys,
    clusters,
    near_duplicates,
    shingles,
    signatures,
    token_hashes,
)

TEXTS = st.lists(st.text(alphabet="ab cZ.,é日本ก\n", max_size=30), max_size=8)


def tokens_of(text: str) -> list[int]:
    return token_hashes([text]).values.tolist()


def sign(texts: list[str], width: int = 3) -> np.ndarray:
    return signatures(shingles(token_hashes(texts), width))


def words(count: int, draw: random.Random) -> list[str]:
    return ["".join(draw.choices("abcdefghij", k=5)) for _ in range(count)]


@given(TEXTS)
def test_many_texts_at_once_are_as_each_by_itself(texts: list[str]) -> None:
    together = token_hashes(texts)
    apart = [tokens_of(text) for text in texts]
    cut = [together.values[a:b].tolist() for a, b in zip(together.bounds[:-1], together.bounds[1:], strict=True)]
    assert cut == apart
    for width in (1, 3, 13):
        assert np.array_equal(sign(texts, width), np.concatenate([sign([text], width) for text in texts] or [sign([])]))


@given(st.lists(st.sampled_from("one two three . , four".split()), max_size=20), st.integers(1, 5))
def test_shingles_are_the_runs_of_tokens(tokens: list[str], width: int) -> None:
    found = shingles(token_hashes([" ".join(tokens)]), width)
    runs = [tuple(tokens[i : i + width]) for i in range(max(1, len(tokens) - width + 1))] if tokens else []
    assert len(found.values) == len(runs)
    assert len(set(found.values.tolist())) == len(set(runs))
    by_run = dict(zip(runs, found.values.tolist(), strict=True))
    assert [by_run[run] for run in runs] == found.values.tolist()


def test_what_is_a_token() -> None:
    assert tokens_of("Hello,  World") == tokens_of("hello , world")
    assert tokens_of("3+5") == tokens_of("3 + 5") != tokens_of("3 - 5")
    assert tokens_of("ab") != tokens_of("a b") != tokens_of("b a")
    assert len(tokens_of("日本語")) == 3  # no spaces part the words
    assert len(tokens_of("한국어 हिन्दी")) == 2
    assert tokens_of("") == tokens_of(" \n\t") == []
    assert len(tokens_of("\ud800 🙂")) == 2  # half of a pair is read too


def test_the_estimate_is_the_similarity_of_the_shingles() -> None:
    draw = random.Random(0)
    for share in (0.2, 0.5, 0.8):
        estimates, exact = [], []
        for _ in range(40):
            common, first, second = words(200, draw), words(200, draw), words(200, draw)
            cut = int(200 * share)
            texts = [" ".join(common[:cut] + own[: 200 - cut]) for own in (first, second)]
            a, b = (set(shingles(token_hashes([text])).values.tolist()) for text in texts)
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
