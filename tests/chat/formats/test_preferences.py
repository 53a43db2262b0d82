from __future__ import annotations

from typing import Any

import pytest

from tutelage.chat.formats.preferences import PREFERENCE_FORMATS, binary_label, preference
from tutelage.chat.formats.turns import THINK_TAGS
from tutelage.io.row import BrokenRow
from tutelage.records import Message, Preference, Ranking, Reasoning, Text, UnpairedPreference, message

USER = {"role": "user", "content": "Who is Ada?"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("A poet.", "Nobody."))
HUMAN = {"from": "human", "value": "Who is Ada?"}
PAIR = Preference(
    (message("user", "Who is Ada?"),), (message("assistant", "A poet."),), (message("assistant", "Nobody."),), "f:1"
)
# Rows of each format, all of which say PAIR.
ALIKE: list[tuple[str, dict[str, Any]]] = [
    (
        "hh-rlhf",
        {
            "chosen": "\n\nHuman: Who is Ada?\n\nAssistant: A poet.",
            "rejected": "\n\nHuman: Who is Ada?\n\nAssistant: Nobody.",
        },
    ),
    ("chosen-rejected", {"prompt": "Who is Ada?", "chosen": "A poet.", "rejected": "Nobody."}),
    ("chosen-rejected", {"instruction": "Who is Ada?", "input": "", "chosen": "A poet.", "rejected": "Nobody."}),
    ("chosen-rejected", {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}),
    ("chosen-rejected", {"prompt": "Who is Ada?", "chosen": [USER, GOOD], "rejected": [USER, BAD]}),
    ("chosen-rejected", {"chosen": [USER, GOOD], "rejected": [USER, BAD], "score_chosen": 9}),
    ("chosen-rejected", {"conversations": [HUMAN], "chosen": {"from": "gpt", "value": "A poet."}, "rejected": BAD}),
    ("chosen-messages", {"chosen_messages": [USER, GOOD], "rejected_messages": [USER, BAD]}),
    ("alpaca-eval", {"instruction": "Who is Ada?", "output_1": "Nobody.", "output_2": "A poet.", "preference": 2.0}),
    ("alpaca-eval", {"instruction": "Who is Ada?", "output_1": "A poet.", "output_2": "Nobody.", "preference": 1}),
    ("ranking", {"prompt": "Who is Ada?", "answers": ["Nobody.", "A poet."], "ranks": [4, 1]}),
    ("ranking", {"prompt": [USER], "answers": [GOOD, BAD], "scores": [0.5, -2.5]}),
]


def read(row: dict[str, Any]) -> tuple[str, Any]:
    name = next(name for name, format_ in PREFERENCE_FORMATS.items() if format_.recognises(row))
    return name, preference(PREFERENCE_FORMATS[name].read(row), row, "f:1")[0]


@pytest.mark.parametrize(("name", "row"), ALIKE)
def test_each_format_is_recognised_and_read(name: str, row: dict[str, Any]) -> None:
    assert read(row) == (name, PAIR)


def test_each_format_is_tried_here() -> None:
    assert {name for name, _ in ALIKE} | {"kto"} == set(PREFERENCE_FORMATS)


def test_a_ranking_keeps_its_ties_and_counts_its_ranks_from_one() -> None:
    answers = ["A poet.", "Nobody.", "A writer.", "I do not know."]
    wanted = ("ranking", Ranking(PAIR.prompt, tuple((message("assistant", a),) for a in answers), (1, 3, 1, 2), "f:1"))
    assert read({"prompt": "Who is Ada?", "answers": answers, "ranks": [1, 7, 1, 4]}) == wanted
    assert read({"prompt": "Who is Ada?", "answers": answers, "scores": [9, -1, 9, 0.5]}) == wanted


def test_the_margin_of_a_pair_is_read() -> None:
    assert read({"prompt": "Who is Ada?", "chosen": "A poet.", "rejected": "Nobody.", "margin": 2})[1].margin == 2.0


def test_talks_part_at_the_first_difference() -> None:
    turns = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Who is Ada?\n\nAssistant:"
    _, pair = read({"chosen": f"{turns} A poet.\n\nHuman: Oh?\n\nAssistant: Yes.", "rejected": f"{turns} Nobody."})
    assert [turn.text for turn in pair.prompt] == ["Hi", "Hello", "Who is Ada?"]
    assert [turn.text for turn in pair.chosen] == ["A poet.", "Oh?", "Yes."]
    assert [turn.text for turn in pair.rejected] == ["Nobody."]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, BAD], "label": False},
        {"messages": [USER, BAD], "kto_tag": False},
        {"prompt": "Who is Ada?", "completion": "Nobody.", "label": False},
        {"prompt": [USER], "completion": [BAD], "label": False},
    ],
)
def test_an_answer_with_a_label(row: dict[str, Any]) -> None:
    assert binary_label(row) is False
    assert read(row) == ("kto", UnpairedPreference(PAIR.prompt, PAIR.rejected, False, "f:1"))
    good = {name: True if value is False else value for name, value in row.items()}
    assert read(good)[1].desirable


def test_corrections_are_noted_once() -> None:
    row = {"prompt": "Who is Ada?", "chosen": "<think>Hm.</think>A poet.", "rejected": "<think>Hm.</think>Nobody."}
    pair, notes = preference(PREFERENCE_FORMATS["chosen-rejected"].read(row), row, "f:1")
    assert pair.chosen == (Message("assistant", (Reasoning("Hm."), Text("A poet."))),)
    assert notes == [THINK_TAGS]


def transcripts(chosen: str, rejected: str) -> dict[str, str]:
    return {"chosen": f"\n\nHuman: Hi\n\nAssistant:{chosen}", "rejected": f"\n\nHuman: Hi\n\nAssistant:{rejected}"}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "x", "chosen": "y", "rejected": "y"}, "chosen and rejected are the same"),
        ({"prompt": "x", "chosen": "y", "rejected": ""}, "a message that cannot be learned from .*answers nothing"),
        (
            {"chosen": [USER, GOOD], "rejected": [{**USER, "content": "Hi"}, BAD]},
            r"chosen and rejected answer different",
        ),
        (transcripts(" a", " a\n\nHuman: b\n\nAssistant: c"), "chosen and rejected answer different prompts"),
        (transcripts(" a", " b\n\nHuman: c"), r"no answer \(the conversation ends with a user message\)"),
        (transcripts(" a", " b\n\nAssistant: c"), "two assistant turns in a row"),
        ({**transcripts(" a", " b"), "rejected": 3}, r"field that is not text \('rejected'\)"),
        ({**transcripts(" a", " b"), "rejected": "Hm"}, "malformed transcript .*'rejected' does not begin with"),
        ({"instruction": "x", "output_1": "y", "output_2": "z", "preference": 0}, r"no preference \(0 must be 1 or 2"),
        ({"messages": [USER, GOOD, USER], "label": True}, "no answer"),
        ({"prompt": "x", "answers": ["a", "b"], "ranks": [1]}, "malformed ranking .*lists of the same length"),
        ({"prompt": "x", "answers": ["a"], "ranks": [1]}, "malformed ranking .*1 answers; 2 to 9"),
        ({"prompt": "x", "answers": ["a", "b", "c"], "ranks": [1, None, 2]}, "malformed ranking .*not a number"),
        ({"prompt": "x", "answers": ["a", "b", "c"], "ranks": [1, 1, 1]}, "ranking of ties alone"),
        ({"prompt": "x", "answers": ["a", "b", "a"], "ranks": [1, 2, 3]}, "two answers of a ranking are the same"),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": -1}, "malformed margin"),
    ],
)
def test_a_broken_row_is_named(row: dict[str, Any], problem: str) -> None:
    with pytest.raises(BrokenRow, match=f"^{problem}"):
        read(row)
