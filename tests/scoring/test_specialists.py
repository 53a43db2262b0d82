"""Tags against seqeval, spans against torchmetrics' SQuAD, which is that of the official script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.scoring.spans import exact_match, f1
from tutelage.scoring.tags import Entity, count_entities, entities

TAGS = ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC", "B-", "I"]
ROWS = st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=9), min_size=1)


def test_entities_by_hand() -> None:
    assert entities(["B-PER", "I-PER", "O", "B-LOC"]) == [Entity("PER", 0, 2), Entity("LOC", 3, 4)]
    assert entities(["B-PER", "B-PER"]) == [Entity("PER", 0, 1), Entity("PER", 1, 2)]
    assert entities(["O", "I-PER", "I-LOC"]) == [Entity("PER", 1, 2), Entity("LOC", 2, 3)]  # lenient, as the script is
    assert entities([]) == []
    assert count_entities(["B-PER", "O", "B-LOC"], ["B-PER", "I-PER", "B-LOC"]) == (1, 2, 2)


@settings(max_examples=300, deadline=None)
@given(ROWS)
@pytest.mark.filterwarnings("ignore")
def test_entity_scores_are_those_of_seqeval(rows: list[list[tuple[str, str]]]) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    predicted = [[ours for ours, _ in row] for row in rows]
    gold = [[theirs for _, theirs in row] for row in rows]
    counts = [count_entities(*both) for both in zip(predicted, gold, strict=True)]
    right, given_, wanted = (sum(column) for column in zip(*counts, strict=True))
    assert right / max(given_, 1) == pytest.approx(seqeval.precision_score(gold, predicted, zero_division=0))
    assert right / max(wanted, 1) == pytest.approx(seqeval.recall_score(gold, predicted, zero_division=0))
    assert 2 * right / max(given_ + wanted, 1) == pytest.approx(seqeval.f1_score(gold, predicted, zero_division=0))


WORDS = st.lists(st.sampled_from(["The", "cat", "a", "sat.", "Ünï", "an", "-", "theatre", "  ", "19'th", "。"])).map(
    " ".join
)


@settings(max_examples=300, deadline=None)
@given(WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_span_scores_are_those_of_squad(answer: str, gold: list[str]) -> None:
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    rows = [{"answers": {"answer_start": [0] * len(gold), "text": gold}, "id": "1"}]
    theirs = squad([{"prediction_text": answer, "id": "1"}], rows)
    assert 100 * exact_match(answer, gold) == pytest.approx(float(theirs["exact_match"]))
    if any(map(_has_words, [answer, *gold])):  # without words the script of 2016 gives 0, that of 2018 gives 1
        assert 100 * f1(answer, gold) == pytest.approx(float(theirs["f1"]), abs=1e-4)


def _has_words(text: str) -> bool:
    return f1(text, [""]) == 0.0


def test_a_question_without_an_answer_is_scored_as_in_squad_2() -> None:
    assert exact_match("", []) and f1("", []) == 1.0
    assert not exact_match("cat", []) and f1("cat", []) == 0.0
    assert not exact_match("", ["cat"]) and f1("", ["cat"]) == 0.0
    assert exact_match("The cat!", ["a dog", "cat"]) and f1("cat sat", ["the cat"]) == pytest.approx(2 / 3)
