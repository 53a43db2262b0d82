"""Findings that are measured on a published checkpoint."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.served import tiny_checkpoint
from tutelage import progress
from tutelage.lab.catalogue import MEASUREMENTS, find_measurement
from tutelage.lab.effects import split_effect
from tutelage.lab.model_run import measure_on_model
from tutelage.lab.on_models import majority_vote, wording, worked_thought
from tutelage.lab.results import read_result
from tutelage.lab.verdict import decide
from tutelage.model.hub import save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a chat template, in a folder."""
    progress.set_mode("quiet")
    place = tmp_path_factory.mktemp("models") / "Tiny-Random"
    save_model(place, tiny_checkpoint(context=1024))
    return place


@pytest.mark.parametrize("number", MEASUREMENTS)
def test_a_random_model_is_measured_end_to_end(number: str, folder: Path, tmp_path: Path) -> None:
    result = measure_on_model(number, folder, tmp_path, quick=True)
    assert (result.number, result.model, result.quick) == (number, "Tiny-Random", True)
    assert result.verdict != "reproduced", "a random model shows nothing"
    assert (result.verdict, result.reason) == decide(result.primary, result.control, result.needed)
    assert all(len(effect.by_seed) == 3 for effect in [*result.primary, result.control])
    assert str(folder.parent) not in (tmp_path / "quick" / "results" / f"{result.stem}.json").read_text()
    assert f"### {result.title}" in (tmp_path / "quick" / "results.md").read_text(encoding="utf-8")


def test_a_finding_without_a_measurement_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^finding 1 is not measured on a checkpoint; leave --model out, or choose "):
        find_measurement("1")
    with pytest.raises(ValueError, match="there is no finding 99"):
        find_measurement("99")


def test_a_quick_measurement_never_replaces_a_full_one(folder: Path, tmp_path: Path) -> None:
    full = measure_on_model("22", folder, tmp_path, tmp_path / "lab", quick=True)
    path = tmp_path / "lab" / f"{full.stem}.json"
    path.write_text(path.read_text().replace('"quick": true', '"quick": false'))
    with pytest.raises(ValueError, match="holds the result of a full run"):
        measure_on_model("22", folder, tmp_path, tmp_path / "lab", quick=True)
    assert not read_result(path).quick


def test_thirds_of_the_items_take_the_place_of_seeds() -> None:
    effect = split_effect("effect", np.array([1.0, 1, 0, 1, 0, 0]), np.zeros(6))
    assert effect.by_seed == [1.0, 0.5, 0.0]
    assert effect.estimate.value == 0.5
    assert not effect.fires


@pytest.mark.parametrize(
    ("text", "number"), [(" 12\n3 + 4", 12), (" 12", 12), ("12 apples\n", -1), (" twelve", -1), ("\n12", -1), ("", -1)]
)
def test_a_sum_is_the_number_that_the_first_line_consists_of(text: str, number: int) -> None:
    assert majority_vote.result(text) == number


def test_no_sum_is_asked_that_is_solved_before_it() -> None:
    for text, gold in majority_vote.prompts():
        *solved, asked = text.split("\n")
        assert len(solved) == majority_vote.SHOTS
        left, right = map(int, asked.removesuffix(" =").split(" + "))
        assert left + right == gold
        assert not {f"{left} + {right} = {gold}", f"{right} + {left} = {gold}"} & set(solved)
    examples, asked_terms = worked_thought.problems()
    assert len({*examples, *asked_terms}) == worked_thought.SHOTS + worked_thought.PROBLEMS


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" The answer is 12.\n\nQuestion: 3", 12),
        (" 1 + 9 = 10, 10 + 2 = 12. The answer is 12.", 12),
        (" 1 + 9 = 10, 10 + 2 = 12", None),
        (" The answer is 12", None),
        (" The answer is 12. Or 13", None),
        ("Let me think.\nThe answer is 12.", None),
    ],
)
def test_only_an_answer_in_the_form_of_the_examples_counts(text: str, number: int | None) -> None:
    assert worked_thought.stated(text) == number


def test_the_worked_steps_are_right() -> None:
    assert worked_thought.steps((8, 9, 6)) == "8 + 9 = 17, 17 + 6 = 23. "
    given = worked_thought.prompt([(1, 2, 3)], (8, 9, 6), worked_thought.GIVEN)
    assert given.endswith("What is 8 + 9 + 6?\nAnswer: 8 + 9 = 17, 17 + 6 = 23. The answer is")
    assert "1 + 2 = 3" not in worked_thought.prompt([(1, 2, 3)], (8, 9, 6), worked_thought.AT_ONCE)


def test_every_question_is_answered_before_it_and_the_right_choice_stands_first_in_half() -> None:
    items = wording.items()
    assert Counter(item.gold for item in items) == {0: wording.ITEMS // 2, 1: wording.ITEMS // 2}
    for item in items:
        assert f" lives in {item.choices[item.gold]}. Where does" in item.question
        assert item.choices[1 - item.gold] not in item.question
