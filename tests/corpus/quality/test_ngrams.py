"""The n-gram model: its probabilities sum to one, and are those worked out slowly."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.corpus.quality.ngrams import _discounts, load_ngrams, train_ngrams

sequences = st.lists(st.lists(st.integers(0, 3), max_size=7), min_size=1, max_size=6).filter(lambda rows: any(rows))


def arrays(rows: list[list[int]]) -> list[np.ndarray]:
    return [np.array(row, np.int32) for row in rows]


@given(sequences, st.lists(st.integers(0, 4), max_size=4), st.integers(1, 4))
@settings(max_examples=60)
def test_probabilities_of_all_that_may_follow_sum_to_one(rows: list[list[int]], history: list[int], order: int) -> None:
    model = train_ngrams(arrays(rows), 5, order)
    following = [model.log_probabilities(arrays([[*history, token]]))[len(history)] for token in range(5)]
    end = model.log_probabilities(arrays([history]))[-1]
    assert np.exp([*following, end]).sum() == pytest.approx(1, abs=1e-5)


@given(sequences)
@settings(max_examples=40)
def test_a_bigram_model_is_that_worked_out_slowly(rows: list[list[int]]) -> None:
    model = train_ngrams(arrays(rows), 4, 2)
    padded = [["<", *row, ">"] for row in rows]
    pairs = Counter((a, b) for row in padded for a, b in pairwise(row))
    before = Counter(b for _, b in pairs)
    taken = [dict(enumerate(_discounts(np.array(list(one.values()))))) for one in (before, pairs)]

    def single(word: object) -> float:
        total = sum(before.values())
        left = sum(taken[0][min(count, 3)] for count in before.values()) / total
        own = (before[word] - taken[0][min(before[word], 3)]) / total if word in before else 0
        return own + left / 5

    def double(first: object, word: object) -> float:
        counts = {b: count for (a, b), count in pairs.items() if a == first}
        if not counts:
            return single(word)
        total = sum(counts.values())
        left = sum(taken[1][min(count, 3)] for count in counts.values()) / total
        own = (counts[word] - taken[1][min(counts[word], 3)]) / total if word in counts else 0
        return own + left * single(word)

    expected = [double(a, b) for row in padded for a, b in pairwise(row)]
    np.testing.assert_allclose(np.exp(model.log_probabilities(arrays(rows))), expected, rtol=1e-4)


def test_what_was_seen_is_likelier_and_longer_runs_help(tmp_path: Path) -> None:
    rows = [[0, 1, 2, 3, 4]] * 5 + [[3, 1, 0, 2, 4]] * 5
    model = train_ngrams(arrays(rows), 6, 5)
    seen, mixed = (model.log_probabilities(arrays([row])).sum() for row in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]))
    assert seen > mixed + 5
    assert seen > train_ngrams(arrays(rows), 6, 1).log_probabilities(arrays([[0, 1, 2, 3, 4]])).sum() + 2
    model.save(tmp_path / "model")
    again = load_ngrams(tmp_path / "model")
    np.testing.assert_array_equal(again.log_probabilities(arrays(rows)), model.log_probabilities(arrays(rows)))


def test_mistakes_are_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs training text"):
        train_ngrams(arrays([[]]), 5)
    with pytest.raises(ValueError, match="is not an n-gram model"):
        load_ngrams(tmp_path / "none")
