"""Rows of programming tasks and of IFEval as prompts whose gold says what an answer must do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tutelage.chat.formats.prompts import task
from tutelage.sandbox import check_available
from tutelage.scoring import make_verifier
from tutelage.scoring.trial import check_verifier

HUMAN_EVAL = {
    "prompt": "def return1():\n", "canonical_solution": "    return 1", "entry_point": "return1",
    "test": "def check(candidate):\n    assert candidate() == 1",
}  # fmt: skip
MBPP = {
    "text": "x", "prompt": "Double a number.", "code": "def double(x):\r\n    return 2 * x", "test_setup_code": "",
    "test_list": ["assert double(1) == 2", "assert double(2) == 4"],
}  # fmt: skip


def gold_of(row: dict[str, Any]) -> Any:
    ((made,), _) = task(row, "prompt", "here", None)
    return made.gold


@pytest.mark.skipif(bool(check_available()), reason=check_available())
@pytest.mark.parametrize("row", [HUMAN_EVAL, MBPP], ids=["HumanEval", "MBPP"])
def test_the_solution_of_a_programming_row_passes_its_tests(row: dict[str, Any]) -> None:
    check_verifier("unit_tests", make_verifier("unit_tests"), [gold_of(row)])


def test_the_constraints_of_a_row_of_ifeval() -> None:
    kinds = ["punctuation:no_comma", "length_constraints:number_words"]
    arguments = [None, {"relation": "at least", "num_words": 3, "keyword": None}]
    gold = gold_of({"prompt": "Write.", "instruction_id_list": kinds, "kwargs": arguments})
    assert json.loads(gold) == [{"kind": kinds[0]}, {"kind": kinds[1], "relation": "at least", "num_words": 3}]
    assert make_verifier("constraints")("one two three", gold).outcome == "right"


def test_a_field_test_without_assertions_is_no_test() -> None:
    assert gold_of({"prompt": "a", "test": "yes", "answer": "7"}) == "7"
