from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.synth.gate import Gate, GateSettings
from tutelage.synth.near_rows import NearRows
from tutelage.synth.rows import conversation, pair

LONG = "The harbour was built by monks who came over the mountain in the winter of a very cold year, it is said."


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Name a river.", "The Danube is a river.", None),
        ("Name a river.", "N/A", "placeholder answer"),
        ("Name a river.", " ", "empty"),
        ("Name a river.", "I'm sorry, but I can't assist with that.", "refusal"),
        ("Who are you?", "I am ChatGPT, a large language model trained by OpenAI.", "identity"),
        ("Why?", "I'm sorry for your loss, and I can't imagine how hard this is.", None),
        ("Who are you?", "I'm a chatbot.", "identity"),
        ("Name a river.", "The Rhine.\n\n### Instruction:\nName a lake.", "special token"),
        ("Name a river.", "The Rhine.<|im_end|>", "special token"),
        ("Write to a friend.", "Dear {{name}}, how are you?", "placeholder"),
        (
            "Describe the river that flows through Vienna.",
            "Describe the river that flows through Vienna.",
            "copied prompt",
        ),
    ],
)
def test_pal32_what_a_row_may_not_hold(question: str, answer: str, reason: str | None) -> None:
    """alpaca-lora PR 32, 65; AlpacaDataCleaned PR 1; LLaVA-CoT 32; WizardLM 174; camel self_instruct.py."""
    drop = Gate(GateSettings()).check(conversation(question, answer))
    assert (drop and drop.reason) == reason


def test_an_own_name_is_no_other_identity_and_a_check_can_be_skipped() -> None:
    row = conversation("Who are you?", "I am Juniper, an AI assistant made by Heron Labs.")
    assert Gate(GateSettings()).check(row)
    assert Gate(GateSettings(assistant=["Juniper", "Heron Labs"])).check(row) is None
    refusal = conversation("Do harm.", "I'm sorry, but I can't help with that.")
    assert Gate(GateSettings(skip=["refusal"])).check(refusal) is None
    with pytest.raises(ValueError, match="did you mean 'refusal'"):
        GateSettings(skip=["refusals"])


def test_both_sides_of_a_preference_are_checked() -> None:
    row = pair([{"role": "user", "content": "Name a river."}], "The Danube.", "I am ChatGPT, made by OpenAI.")
    drop = Gate(GateSettings()).check(row)
    assert drop is not None and drop.reason == "identity"


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("A train leaves Aden at 41 miles an hour and another one leaves Bath at 83; when do they meet?", True),
        ("A train leaves Aden at 37 miles an hour and another one leaves Bath at 90; when do they meet?", True),
        ("Who painted it?", True),
        ("A train is a row of wagons that an engine pulls along a track, at up to 300 miles an hour.", False),
    ],
)
def test_pc8_an_evaluation_text_is_found_with_other_numbers_too(tmp_path: Path, text: str, leaks: bool) -> None:
    """PromptCoT 8, s1 26."""
    texts = ["A train leaves Aden at 37 miles an hour and another one leaves Bath at 83; when do they meet?"]
    rows = [
        {"problem": texts[0]},
        {"problem": "Who painted it? Say it now, please."},
        {"problem": "Who painted it?" + " " * 9},
    ]
    (tmp_path / "evaluation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    gate = Gate(GateSettings(against=[str(tmp_path / "evaluation.jsonl")]))
    drop = gate.check(conversation(text, "I would have to think about it."))
    assert (drop is not None and drop.reason == "overlap") == leaks


def test_near_rows_are_found_as_they_arrive() -> None:
    near = NearRows()
    near.add("Who built the harbour?", LONG)
    near.add("", LONG)
    assert near.find("Who built the harbour?", LONG) == ("duplicate", 0)
    assert near.find("Who built the harbour?", LONG + " Yes.") == ("near duplicate", 0)
    assert near.find("What do cats eat at night, and where?", LONG) is None
    assert near.find("", f"{LONG} Yes.") == ("near duplicate", 1)
    near.add("Was it Ada Byron?", "Yes.")
    assert near.find("was it  ADA Byron?", "Yes.") == ("near duplicate", 2)
    assert near.find("Was it Ada Lovelace?", "Yes.") is None
