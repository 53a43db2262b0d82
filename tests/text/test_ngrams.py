"""N-grams are the runs of words, and benchmark items are found by the n-grams that they share with a text."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.text.hashing import GOLDEN, splitmix64
from tutelage.text.ngrams import (
    STOP_GRAM_LIMIT,
    ItemIndex,
    _covered,
    coverage,
    find_items,
    index_items,
    most_covered,
    ngrams,
    text_hashes,
)
from tutelage.text.words import Hashes, hash_words


def worst(texts: list[str], index: ItemIndex) -> tuple[list[float], list[int]]:
    shares, items = most_covered(hash_words(texts), index)
    return [round(share, 3) for share in shares.tolist()], items.tolist()


def prose(seed: int, length: int = 40) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghij", k=6)) for _ in range(length))


@given(st.lists(st.lists(st.integers(0, (1 << 64) - 1), max_size=20), max_size=4), st.integers(1, 15))
def test_ngrams_are_the_polynomials_of_all_runs(texts: list[list[int]], width: int) -> None:
    words = np.array([word for text in texts for word in text], np.uint64)
    found = ngrams(Hashes(words, np.cumsum([0, *map(len, texts)])), width)
    runs = [[text[at : at + width] for at in range(max(1, len(text) - width + 1))] if text else [] for text in texts]
    assert np.diff(found.bounds).tolist() == list(map(len, runs))
    base = int(GOLDEN)
    sums = [sum(word * base**place for place, word in enumerate(run)) + base for of_text in runs for run in of_text]
    assert found.values.tolist() == splitmix64(np.array([one % (1 << 64) for one in sums], np.uint64)).tolist()


def test_a_text_has_one_hash_even_without_words() -> None:
    hashes = text_hashes(hash_words(["a b", "", "A  b", "b a", "?"])).tolist()
    assert hashes[0] == hashes[2]
    assert hashes[1] == hashes[4]
    assert len(set(hashes)) == 3
    assert text_hashes(hash_words([])).tolist() == []


def test_an_item_within_a_text_is_found_whatever_its_case_spacing_and_marks() -> None:
    index = index_items([[prose(0)], [prose(1)], [prose(2)]], 13)
    around = f"{prose(10)} {prose(2).upper().replace(' ', ',  ')} {prose(11)}"
    assert worst([around, prose(12), prose(0)], index) == ([1.0, 0.0, 1.0], [2, -1, 0])
    assert worst([], index) == ([], [])


def test_what_many_items_share_is_their_form() -> None:
    form = prose(4, 30)
    index = index_items([[f"{form} {prose(100 + n)}"] for n in range(STOP_GRAM_LIMIT + 1)], 13)
    assert worst([form, f"{form} {prose(103)}"], index) == ([0.0, 1.0], [-1, 3])


def test_short_items_are_found_whole_and_very_short_ones_never() -> None:
    index = index_items([["Which river runs through the town of Lerida?"], ["which river runs"]], 13)
    texts = ["well: which river runs through the town of Lerida, then", "which river runs"]
    assert worst(texts, index) == ([1.0, 0.0], [0, -1])
    with pytest.raises(ValueError, match="none of the 1 benchmark items can be matched"):
        index_items([["which river runs"]], 13)


@given(st.lists(st.lists(st.integers(0, 30), min_size=9, max_size=25), min_size=1, max_size=4), st.data())
def test_coverage_is_the_share_of_words_under_a_shared_run(numbers: list[list[int]], data: st.DataObject) -> None:
    items = [" ".join(f"w{number}" for number in one) for one in numbers]
    start = data.draw(st.integers(0, len(numbers[0])))
    text = "x " + " ".join(items[0].split()[start:]) + " " + data.draw(st.sampled_from(items))
    index = index_items([[item] for item in items], 8, stop_gram_limit=99)
    covered = coverage(find_items(hash_words([text]), index), index)
    words = text.split()
    runs = {tuple(words[at : at + 8]) for at in range(len(words) - 7)}
    for place, item in enumerate(items):
        own = item.split()
        under = {at + step for at in range(len(own) - 7) if tuple(own[at : at + 8]) in runs for step in range(8)}
        shares = covered.shares[covered.items == place]
        assert (shares[0] if len(shares) else 0) == pytest.approx(len(under) / len(own))


def test_texts_too_short_to_look_for_do_not_count() -> None:
    item = ["Which of these rivers runs through the old town of Lerida?", "the Segre", "the Ebro"]
    only_short = ["What is it?", "a river"]
    index = index_items([item, only_short], 8)
    assert index.sizes.tolist() == [11, 0]
    assert worst([f"so: {item[0]}", "What is it? a river"], index) == ([1.0, 0.0], [0, -1])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(1, 5))))
def test_places_under_several_runs_count_once(runs: list[tuple[int, int, int]]) -> None:
    under: dict[int, set[int]] = {}
    for group, place, width in runs:
        under.setdefault(group, set()).update(range(place, place + width))
    groups, counts = _covered(*(np.array([run[column] for run in runs], np.int64) for column in range(3)))
    assert dict(zip(groups.tolist(), counts.tolist(), strict=True)) == {group: len(own) for group, own in under.items()}
