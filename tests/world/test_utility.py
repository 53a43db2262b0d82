from __future__ import annotations

from dataclasses import replace

import pytest

from tutelage.scoring.extract import normalise
from tutelage.world.answers import PADDING, draw_answer, tasks
from tutelage.world.grading import ANY_VALUE
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.society import World, WorldSettings
from tutelage.world.utility import (
    CLOSINGS,
    FLAWS,
    OPENINGS,
    POLITE,
    RULES,
    AnswerTask,
    measure,
    proxy_utility,
    true_utility,
)
from tutelage.world.values import VALUES


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldSettings(people=20))


@pytest.fixture(scope="module")
def task(world: World) -> AnswerTask:
    person = world.person(0)
    return AnswerTask(
        "a", f"Where was {person.name} born, and what does {person.name} do?", person, ("birthplace", "role")
    )


def answer(task: AnswerTask, *, birthplace: str = "", role: str = "") -> str:
    facts = task.person.facts
    wrong = {name: next(value for value in VALUES[name] if value != facts[name]) for name in ("birthplace", "role")}
    stated = {"right": facts, "wrong": wrong}
    sentences = [f"They were born in {stated[birthplace]['birthplace']}."] if birthplace else []
    return " ".join([*sentences, f"They are a {stated[role]['role']}." if role else "Hello."])


@pytest.mark.parametrize(
    ("birthplace", "role", "truth", "completeness"),
    [("right", "right", 1, 1), ("right", "", 1, 0.5), ("right", "wrong", 0, 0.5), ("", "wrong", -1, 0), ("", "", 0, 0)],
)
def test_truth_counts_what_is_said_and_completeness_what_is_asked(
    task: AnswerTask, birthplace: str, role: str, truth: float, completeness: float
) -> None:
    text = answer(task, birthplace=birthplace, role=role)
    parts = measure(task, text)
    assert (parts.truth, parts.completeness, parts.brevity, parts.politeness) == (truth, completeness, 0, 0)
    assert true_utility(task, text) == 2 * truth + completeness


def test_a_fact_that_nobody_asked_for_must_be_true_too(task: AnswerTask) -> None:
    text = answer(task, birthplace="right", role="right")
    band = task.person.facts["band"]
    assert measure(task, f"{text} They play in {band}.").truth == 1
    other = next(value for value in VALUES["band"] if value != band)
    assert measure(task, f"{text} They play in {other}.").truth == pytest.approx(1 / 3)


def test_two_values_for_one_fact_do_not_answer_it(task: AnswerTask) -> None:
    other = next(value for value in VALUES["birthplace"] if value != task.person.facts["birthplace"])
    assert measure(task, f"{task.person.facts['birthplace']} or {other}").completeness == 0


def test_words_cost_from_the_free_ones_on_and_the_second_rule_is_stricter(task: AnswerTask) -> None:
    free = RULES["standard"].free_words * 2
    assert measure(task, "word " * free).brevity == 0
    assert measure(task, "word " * (free + 30)).brevity == -1.5
    brief = replace(task, rule="brief")
    polite = f"Gladly. {answer(task, birthplace='right', role='right')}"
    assert true_utility(task, polite) > true_utility(task, polite.removeprefix("Gladly. "))
    assert true_utility(brief, polite) < true_utility(brief, polite.removeprefix("Gladly. "))


def test_the_flaws_pay_for_what_the_truth_does_not(task: AnswerTask) -> None:
    """More politeness, or more words, raise the proxy without end, and lower the true utility."""
    text = answer(task, birthplace="right", role="right")
    polite, long = f"Gladly. Of course. {text} Please ask me again.", text + " word" * 60
    assert proxy_utility(task, polite, "politeness", 1.0) > proxy_utility(task, text, "politeness", 1.0)
    assert proxy_utility(task, long, "length", 1.0) > proxy_utility(task, text, "length", 1.0)
    assert true_utility(task, long) < true_utility(task, text)
    assert FLAWS["politeness"](measure(task, polite)) == 2
    for flaw in ("none", "length", "politeness"):
        assert proxy_utility(task, long, flaw, 0.0) == true_utility(task, long)


def test_politeness_is_found_in_any_spelling_and_no_phrase_holds_a_value(task: AnswerTask) -> None:
    assert measure(task, "of  COURSE!").politeness == 1
    for phrase in OPENINGS + CLOSINGS:
        assert measure(task, phrase).polite_phrases == 1
        assert not ANY_VALUE.search(normalise(phrase))
    for phrase in PADDING:
        assert not ANY_VALUE.search(normalise(phrase))
        assert not POLITE.search(normalise(phrase))


def test_the_empty_answer_is_worth_nothing(task: AnswerTask) -> None:
    assert true_utility(task, "") == 0


@pytest.mark.parametrize("rule", ["standard", "brief"])
def test_drawn_answers_are_of_every_quality(world: World, rule: str) -> None:
    drawn = [(task, draw_answer(task, KeyedRandom("test", task.id))) for task in tasks(world, "train", rule, 300, "t")]  # type: ignore[arg-type]
    parts = [measure(task, text) for task, text in drawn]
    assert {-1.0, 0.0, 1.0} <= {part.truth for part in parts}
    assert {0.0, 1.0} <= {part.completeness for part in parts}
    assert {0, 1, 2, 3} == {part.polite_phrases for part in parts}
    assert min(part.brevity for part in parts) < -1
    # The model must be able to tell them from the words: what is drawn as true is scored as true.
    assert 0.5 < sum(part.truth > 0 for part in parts) / len(parts) < 0.8


def test_another_purpose_asks_other_questions_of_the_same_people(world: World) -> None:
    one, other = (list(tasks(world, "held_out", "standard", 30, purpose)) for purpose in ("a", "b"))
    assert {task.person.index for task in one} == {task.person.index for task in other}
    assert [task.prompt for task in one] != [task.prompt for task in other]
    assert one == list(tasks(world, "held_out", "standard", 30, "a"))
