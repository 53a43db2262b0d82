from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.scoring.calls import MadeCall, fault, read_made_calls, score_calls

Data = Callable[[str], Path]
HERMES, GPT4 = "NousResearch_Hermes-2-Pro-Llama-3-8B", "gpt-4-0613"
FILES = {
    "simple": ("simple_python", "simple", "simple"),
    "multiple": ("multiple", "multiple_function", "multiple_function"),
    "parallel": ("parallel", "parallel_function", "parallel_function"),
    "irrelevance": ("irrelevance", "relevance", "relevance"),
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def verdicts(data: Data, model: str, kind: Any, strict: bool = False, single_quotes: bool = True) -> list[str]:
    """The outcome of each answer of a model."""
    now, asked, _ = FILES[kind]
    questions = lines(data(f"bfcl/BFCL_v4_{now}.json"))
    golds = [{"ground_truth": []}] * len(questions)
    if kind != "irrelevance":
        golds = lines(data(f"bfcl/possible_answer/BFCL_v4_{now}.json"))
    answers = lines(data(f"bfcl_verdicts/result/{model}/gorilla_openfunctions_v1_test_{asked}_result.json"))
    texts = [row["result"] if single_quotes else row["result"].replace("'", '"') for row in answers]
    return [
        score_calls(read_made_calls(text, strict), gold["ground_truth"], question["function"], kind).outcome
        for question, gold, text in zip(questions, golds, texts, strict=True)
    ]


# The verdicts that differ, by number in the category: gold changed since 2024-08, or as said in the data's source.
@pytest.mark.parametrize(
    ("model", "kind", "differ"),
    [
        (HERMES, "simple", {5, 183, 196, 277}),
        (HERMES, "multiple", {64}),
        (HERMES, "parallel", {158}),
        (HERMES, "irrelevance", set()),
        (GPT4, "simple", {5, 156, 196, 277, 375}),
        (GPT4, "multiple", {64, 183}),
        (GPT4, "parallel", {158, 195}),
        (GPT4, "irrelevance", {115}),
    ],
)
def test_verdicts_are_those_of_the_leaderboard(data: Data, model: str, kind: str, differ: set[int]) -> None:
    """Its parser of Hermes turns ' into ". It counts a call that does not parse as an abstention: pain E29."""
    outcomes = verdicts(data, model, kind, strict=True, single_quotes=model == GPT4)
    accepted = {"right", "broken"} if kind == "irrelevance" else {"right"}
    score, *failing = lines(data(f"bfcl_verdicts/score/{model}/{FILES[kind][2]}_score.json"))
    failed = {row["id"] - 1 for row in failing}
    assert score["total_count"] == len(outcomes)
    assert {n for n, outcome in enumerate(outcomes) if (outcome in accepted) == (n in failed)} == differ


def test_the_parser_is_part_of_the_score(data: Data) -> None:
    for strict, published in ((True, [354, 184, 143, 84]), (False, [359, 187, 143, 84])):
        assert [Counter(verdicts(data, HERMES, kind, strict))["right"] for kind in FILES] == published


def test_pain_e29_a_call_that_does_not_parse_is_no_abstention() -> None:
    assert score_calls(read_made_calls("<tool_call>{broken"), [], [], "irrelevance").outcome == "broken"
    assert score_calls(read_made_calls("I have no such tool."), [], [], "irrelevance").outcome == "right"
    assert score_calls(read_made_calls("I have no such tool."), [{"f": {}}], [], "simple").outcome == "abstained"


SCHEMA = {
    "name": "lib.f",
    "parameters": {
        "type": "dict",
        "properties": {
            "x": {"type": "float"},
            "n": {"type": "integer"},
            "s": {"type": "string"},
            "l": {"type": "array", "items": {"type": "float"}},
            "d": {"type": "dict"},
        },
        "required": ["x"],
    },
}
GOLD = {
    "x": [1.0],
    "n": [2, ""],
    "s": ["New York, NY", ""],
    "l": [[1.0, 2.0], ""],
    "d": [{"a": ["b"], "c": ["d", ""]}, ""],
}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"x": 1.0}, ""),
        ({"x": 1}, ""),  # an int is a float at the top
        ({"x": 1.0, "l": [1, 2]}, "'l': [1, 2] has items of another type"),  # but not in a list
        ({"x": 1.0, "l": [2.0, 1.0]}, "'l': [2.0, 1.0] is not right"),  # the order counts
        ({"x": 1.0, "n": True}, "'n': True is no integer"),
        ({"x": 1.0, "n": 2.0}, "'n': 2.0 is no integer"),
        ({"x": 1.0, "n": 3}, "'n': 3 is not right"),
        ({"x": 1.0, "s": "new york ny"}, ""),
        ({"x": 1.0, "s": "New Yorks"}, "'s': 'New Yorks' is not right"),
        ({"x": 1.0, "d": {"a": "B"}}, ""),
        ({"x": 1.0, "d": {"c": "d"}}, "'d': {'c': 'd'} is not right"),
        ({"x": 1.0, "y": 1}, "there is no parameter 'y'"),
        ({"n": 2}, "the required 'x' is missing"),
    ],
)
def test_pain_e30_each_argument_is_compared_and_none_may_be_added(arguments: dict[str, Any], reason: str) -> None:
    assert fault(MadeCall("lib.f", arguments), {"lib.f": GOLD}, [SCHEMA]) == reason
    assert fault(MadeCall("lib_f", arguments), {"lib.f": GOLD}, [SCHEMA]) == reason


def test_another_function_and_another_number_of_calls() -> None:
    right, other = MadeCall("lib.f", {"x": 1.0}), MadeCall("g", {"x": 1.0})
    assert fault(other, {"lib.f": GOLD}, [SCHEMA]) == "it calls 'g', not 'lib.f'"
    golds = [{"lib.f": GOLD}, {"lib.f": {**GOLD, "x": [5.0]}}]
    second = MadeCall("lib.f", {"x": 5.0})
    assert score_calls([second, right], golds, [SCHEMA], "parallel").outcome == "right"  # in any order
    assert score_calls([right, right], golds, [SCHEMA], "parallel").outcome == "wrong"
    assert score_calls([right], golds, [SCHEMA], "parallel").reason == "1 calls, 2 expected"


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', [MadeCall("f", {"a": 1})]),
        ("<tool_call>\n{'name': 'f', 'arguments': {'a': True}}", [MadeCall("f", {"a": True})]),
        ('{"name": "f", "parameters": {}}', [MadeCall("f", {})]),
        ("[f(a=1), lib.g(b='x', c=[1, 2])]", [MadeCall("f", {"a": 1}), MadeCall("lib.g", {"b": "x", "c": [1, 2]})]),
        ("f(data=table)", [MadeCall("f", {"data": "table"})]),
        ("f(1)", None),  # an argument without its name
        ("f(a=__import__('os').system('x'))", None),
        ('[{"name": "f", "arguments": "x"}]', None),
        ("[" * 2000, None),
        ("You could call f(a=1).", []),
        ("", []),
    ],
)
def test_calls_are_read_and_nothing_runs(text: str, calls: list[MadeCall] | None) -> None:
    assert read_made_calls(text) == calls
    if text.startswith("<tool_call>\n{'"):
        assert read_made_calls(text, strict=True) is None
