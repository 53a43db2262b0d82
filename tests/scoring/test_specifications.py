"""Verifiers whose gold says what an answer must do: unit tests and constraints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tutelage.sandbox import check_available
from tutelage.scoring import make_verifier
from tutelage.scoring.constraint_kinds import CONSTRAINTS
from tutelage.scoring.constraints import constraints
from tutelage.scoring.trial import check_verifier
from tutelage.scoring.unit_tests import program, unit_tests

sandboxed = pytest.mark.skipif(bool(check_available()), reason=check_available())
TESTS = "assert double(2) == 4\nassert double('a') == 'aa'"
RIGHT = "Here it is:\n```python\ndef double(x):\n    return x * 2\n```\nIt works."


def gold_of(*rows: dict[str, Any]) -> str:
    return json.dumps(rows)


@sandboxed
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (RIGHT, "right"),
        ("def double(x): return 2 * x", "right"),
        ("```\ndef double(x): return x + 2\n```", "wrong"),
        ("```python\nimport os; os._exit(0)\n```", "wrong"),
        ("```python\nwhile True: pass\n```", "timed out"),
        ("", "unparsable"),
    ],
)
def test_programs_must_reach_the_end_of_their_tests(answer: str, outcome: str) -> None:
    """Pain 55: a loop that never ends is "timed out", and the next answer has its turn."""
    assert unit_tests(answer, TESTS, seconds=1).outcome == outcome


def test_the_last_fenced_block_is_the_program() -> None:
    assert program("```python\na = 1\n```\nbetter:\n```py\na = 2\n```") == "a = 2\n"
    assert program("```python\na = 1") == "a = 1"
    assert program("a = 1") == "a = 1"


@sandboxed
def test_a_task_whose_solution_fails_its_own_tests_is_refused_at_load() -> None:
    verify = make_verifier({"kind": "unit_tests", "seconds": 1})
    solution = "def double(x):\n    return x * 2"
    check_verifier("unit_tests", verify, [json.dumps({"tests": TESTS, "solution": solution}), TESTS])
    wrong = json.dumps({"tests": TESTS, "solution": "def double(x):\n    return x"})
    with pytest.raises(ValueError, match="the known solution of prompt 2 is wrong by its own verifier"):
        check_verifier("unit_tests", verify, [TESTS, wrong])
    with pytest.raises(ValueError, match="accepts .* for prompt 1: it tells nothing apart"):
        check_verifier("unit_tests", verify, ["assert True"])
    with pytest.raises(ValueError, match="holds no tests"):
        check_verifier("unit_tests", verify, [json.dumps({"solution": solution})])


# Of each kind of IFEval an argument, an answer that meets it and one that does not.
EXAMPLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "length_constraints:number_words": ({"relation": "at least", "num_words": 3}, "one two three", "one two"),
    "length_constraints:number_sentences": (
        {"relation": "less than", "num_sentences": 3}, "Mr. Smith came. He left.", "One. Two! Three?",
    ),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "a\n***\nb", "a\n***\n***\nb"),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "elm"}, "a\n\n'Elm, b", "elm\n\nb",
    ),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[name], [date]", "[name]"),
    "detectable_content:postscript": ({"postscript_marker": "P.P.S"}, "bye\nP. P. S. more", "bye\nP.S. more"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n- b", "**a**\n- b"),
    "detectable_format:constrained_response": ({}, "My answer is maybe.", "maybe"),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, "*a* and *b*", "*a* and **"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Part", "num_sections": 2}, "Part 1 a Part 2 b", "Part",
    ),
    "detectable_format:json_format": ({}, '```json\n{"a": 1}\n```', "{a: 1}"),
    "detectable_format:title": ({}, "<<A title>>\nb", "<< >>\nb"),
    "keywords:existence": ({"keywords": ["intern", "grow"]}, "Interns grow.", "interns"),
    "keywords:frequency": ({"relation": "at least", "keyword": "tree", "frequency": 2}, "Tree tree", "tree"),
    "keywords:forbidden_words": ({"forbidden_words": ["cat"]}, "concatenate", "the Cat"),
    "keywords:letter_frequency": (
        {"let_relation": "less than", "letter": "O", "let_frequency": 2}, "no", "Oh no",
    ),
    "change_case:english_capital": ({}, "THIS IS ALL WRITTEN IN CAPITALS", "This is not written in capitals"),
    "change_case:english_lowercase": ({}, "this is all written in small letters", "This is not"),
    "change_case:capital_word_frequency": (
        {"capital_relation": "at least", "capital_frequency": 2}, "THE quick FOX", "The quick FOX",
    ),
    "language:response_language": (
        {"language": "de"}, "Das ist ein Satz in deutscher Sprache.", "This is a sentence in English.",
    ),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Write it."}, "write it. So I did.", "So I did."),
    "combination:two_responses": ({}, "a\n******\nb", "a\n******\na"),
    "startend:end_checker": ({"end_phrase": "Bye now."}, 'so "bye now."', "Bye now. Or not."),
    "startend:quotation": ({}, '"all of it"', '"all" of it'),
    "punctuation:no_comma": ({}, "one and two", "one, two"),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(CONSTRAINTS))
def test_each_kind_of_constraint(kind: str) -> None:
    arguments, good, bad = EXAMPLES[kind]
    gold = gold_of({"kind": kind, **arguments})
    assert constraints(good, gold).outcome == "right"
    assert constraints(bad, gold) == constraints(bad, gold, loose=True)
    assert (constraints(bad, gold).outcome, constraints(bad, gold).extracted) == ("wrong", kind)


def test_all_constraints_count_and_loose_forgives_an_introduction() -> None:
    gold = gold_of({"kind": "startend:quotation"}, {"kind": "punctuation:no_comma"})
    assert constraints('"so, so"', gold).extracted == "punctuation:no_comma"
    assert constraints('Sure!\n"so"', gold).outcome == "wrong"
    assert constraints('Sure!\n"so"', gold, loose=True).outcome == "right"
    assert constraints("  ", gold).outcome == "wrong"


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        ("at most 3 words", "is no JSON list"),
        ("[]", "is no list of constraints"),
        (gold_of({"kind": "length:words"}), "'length:words' is no kind of constraint; the kinds are"),
        (gold_of({"kind": "length_constraints:number_words", "words": 3}), "unexpected keyword"),
        (
            gold_of({"kind": "length_constraints:number_words", "relation": "around", "num_words": 3}),
            "relation is 'around'",
        ),
    ],
)
def test_constraints_that_cannot_be_read_are_refused_at_load(gold: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_verifier("constraints", make_verifier("constraints"), [gold])
