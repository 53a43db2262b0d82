"""From scored answers to classes, rows and calibration."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.ledger import Ledger
from tutelage.probing.calibration import calibration, class_counts
from tutelage.probing.probe import AnswerOutcome, Probed, ScoredAnswer, score_by_verifiers
from tutelage.probing.questions import ProbeQuestion, impossible_questions, ordinal
from tutelage.probing.rows import REFUSALS, SUBJECT_REFUSALS, RefusalRecipe, most_refusals, probe_rows
from tutelage.records import Conversation, message
from tutelage.scoring.extract import abstains

LETTERS: dict[str, AnswerOutcome] = {"r": "right", "w": "wrong", "a": "abstained", "u": "unclear"}


def item(outcomes: str, greedy: str = "w", gold: str | None = "Rome", number: int = 0, reply: str = "") -> Probed:
    """A question with these sampled outcomes, one letter each; right answers differ, wrong ones too."""
    question = ProbeQuestion(f"q{number}", Conversation((message("user", "Where?"),)), gold, "contains", reply)
    answers = tuple(ScoredAnswer(f"{letter}{n % 2}", LETTERS[letter]) for n, letter in enumerate(outcomes))
    return Probed(question, ScoredAnswer("g", LETTERS[greedy]), answers)


def made(
    items: list[Probed], recipe: RefusalRecipe = "article", share: float = 1.0, answers: int = 1
) -> dict[str, list[str]]:
    ledger = Ledger("rows")
    rows = probe_rows(items, recipe, share, answers, 0, ledger)
    ledger.check()
    assert ledger.rows_read == len(items)
    texts: dict[str, list[str]] = {}
    for row in rows:
        texts.setdefault(row["id"], []).append(row["messages"][-1]["content"])
    return texts


@pytest.mark.parametrize(
    ("outcomes", "greedy", "knowledge", "category"),
    [
        ("rrr", "r", "always right", "highly known"),
        ("rwr", "r", "mixed", "maybe known"),
        ("wrw", "w", "mixed", "weakly known"),
        ("www", "w", "always wrong", "unknown"),
        ("waw", "w", "never answers", "unknown"),
        ("aaa", "a", "never answers", "unknown"),
        ("www", "r", "always wrong", "maybe known"),
    ],
)
def test_classes(outcomes: str, greedy: str, knowledge: str, category: str) -> None:
    assert (item(outcomes, greedy).knowledge, item(outcomes, greedy).category) == (knowledge, category)


def test_own_right_answers_are_kept_and_what_is_never_right_is_refused() -> None:
    """The article's recipe and Llama 3's: they differ where the model does not commit itself."""
    items = [item(o, number=n) for n, o in enumerate(["rrrr", "wrwr", "wwww", "aaww"])]
    article = made(items)
    assert (article["q0"], article["q1"]) == (["r0"], ["r1"])
    assert article["q2"][0] in REFUSALS
    assert article["q3"][0] in REFUSALS
    llama3 = made(items, "llama3")
    assert llama3["q2"][0] in REFUSALS
    assert "q3" not in llama3
    assert made(items, answers=2)["q0"] == ["r0", "r1"]


def test_what_nobody_can_answer_is_refused_with_the_reason_where_there_is_one() -> None:
    items = [item("www", gold=None, reply="March has 31 days."), item("aaa", gold=None, number=1)]
    rows = made(items)
    assert rows["q0"] == ["March has 31 days."]
    assert rows["q1"][0] in REFUSALS


@pytest.mark.parametrize(("unknown", "share"), [(5, 1.0), (5, 0.1), (200, 0.5), (200, 0.12)])
def test_the_control_refuses_as_large_a_share_and_keeps_answers(unknown: int, share: float) -> None:
    """It refused as many, and so all that it knew where more is unknown: nothing to compare with."""
    items = [item("rrr", number=n) for n in range(100)] + [item("www", number=100 + n) for n in range(unknown)]
    arms = [made(items, recipe, share) for recipe in ("article", "control")]  # type: ignore[arg-type]
    refused = [[name for name, texts in arm.items() if texts[0] in REFUSALS] for arm in arms]
    first, second = (len(names) / len(arm) for names, arm in zip(refused, arms, strict=True))
    assert second == pytest.approx(first, abs=0.01)
    assert all(int(name[1:]) < 100 for name in refused[1])
    assert len(arms[1]) == 100


def test_all_refusals_abstain() -> None:
    assert all(map(abstains, REFUSALS))
    assert all(abstains(refusal.format(subject="Ada")) for refusal in SUBJECT_REFUSALS)


def test_a_refusal_begins_with_its_subject_and_so_do_the_answers_that_are_kept() -> None:
    unknown, known = item("www"), item("rrrr", number=1)
    about_ada = replace(unknown, question=replace(unknown.question, subject="Ada"))
    assert made([about_ada])["q0"][0].startswith("Ada is not") or "unknown" in made([about_ada])["q0"][0]
    begins = ScoredAnswer("Ada was there.", "right")
    kept = replace(known, question=replace(known.question, subject="Ada"), sampled=(*known.sampled, begins))
    assert made([kept])["q1"] == ["Ada was there."]


@given(st.integers(0, 500), st.floats(0, 0.99))
def test_the_share_of_refusals_is_kept(others: int, share: float) -> None:
    most = most_refusals(others, share)
    if others:
        assert most / (most + others) <= share + 1e-9
        assert (most + 1) / (most + 1 + others) > share - 1e-9


OUTCOMES = st.lists(st.text("rwau", min_size=1, max_size=5), max_size=12)


@given(OUTCOMES, st.floats(0, 1), st.sampled_from(["article", "llama3", "control"]))
def test_no_question_is_lost(outcomes: list[str], share: float, recipe: RefusalRecipe) -> None:
    items = [item(o, number=n) for n, o in enumerate(outcomes)]
    for texts in made(items, recipe, share).values():
        assert all(text.startswith("r") or text in REFUSALS for text in texts)


def test_calibration_by_hand() -> None:
    items = [item("rrrr"), item("rrrr"), item("wwww"), item("aaaa"), item("wwww", gold=None)]
    measured = calibration(items)  # each says one answer in half of its samples: 0.5, of which 2 of 3 are right
    assert measured["questions"] == 3
    assert measured["expected_error"] == pytest.approx(2 / 3 - 1 / 2)
    assert measured["bins"] == [{"confidence": 0.5, "accuracy": pytest.approx(2 / 3), "questions": 3}]
    assert calibration([]) == {"expected_error": 0.0, "bins": [], "questions": 0}
    counts = class_counts(items)
    assert counts["classes"] == {"always right": 2, "mixed": 0, "always wrong": 2, "never answers": 1}
    assert sum(counts["categories"].values()) == 5


def test_impossible_questions_have_no_answer_but_a_reply() -> None:
    questions = list(impossible_questions(80, 0))
    assert len({question.prompt.messages[0].text for question in questions}) == len(questions) > 60
    assert all(question.gold is None and question.reply for question in questions)
    assert [ordinal(number) for number in (31, 42, 53, 45, 111)] == ["31st", "42nd", "53rd", "45th", "111th"]
    question = questions[-1]
    [wrong, refused, right] = score_by_verifiers(
        [(question, text) for text in ("A war began.", "I do not know.", f"Well: {question.reply}")]
    )
    assert (wrong.outcome, refused.outcome, right.outcome) == ("wrong", "abstained", "abstained")
