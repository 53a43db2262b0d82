"""Faults that the world's oracle plants in its answers are caught, each as what it is, and nothing else is dropped."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from synth_runs import balanced, recipe, rows

from tutelage.synth.oracle import Oracle
from tutelage.synth.runner import synthesise
from tutelage.synth.teacher import WorldTeacher
from tutelage.world import World, WorldSettings

WORLD = WorldSettings(people=1200)
CAUGHT = {  # fault -> the reason with which it is dropped
    "wrong": "wrong",
    "refused": "refusal",
    "cut": "cut off",
    "empty": "empty reply",
    "identity": "identity",
    "failed": "no answer: timeout",
}
LEAKED, COPIED = 40, 40


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, dict[str, str]]:
    """1,000 questions of the world, 4% of the answers with each fault; then questions of an evaluation set with other
    numbers, and questions that were asked before."""
    folder = tmp_path_factory.mktemp("planted")
    questions = [q for q in World(WORLD).questions("train", 2) if q.kind == "one-step"][:1000]
    prompts = [{"prompt": q.prompt, "gold": list(q.accepted)} for q in questions]
    leaked = [
        {"prompt": f"A cart carries {n + 3} sacks of grain to the mill, {n} times a day. How many at night?"}
        for n in range(LEAKED)
    ]
    (folder / "evaluation.jsonl").write_text(json.dumps({"question": leaked[0]["prompt"].replace("3", "815")}) + "\n")
    copied = [dict(prompts[7 * n]) for n in range(COPIED)]
    lines = [*prompts, *({**row, "gold": ["Millhaven"]} for row in leaked), *copied]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    settings = WorldTeacher(world=WORLD, faults=dict.fromkeys(CAUGHT, 0.04), seed=5)
    oracle = Oracle(settings)
    make = {"kind": "teacher_swap"}
    table = {
        "make": make,
        "input": str(folder / "prompts.jsonl"),
        "gate": {"against": [str(folder / "evaluation.jsonl")]},
    }
    loaded = recipe(
        {**table, "make": {**make, "verify": "tutelage.world.tasks:names_value", "sampling": {"temperature": 0}}}
    )
    oracle_answers = {"teacher": oracle}
    # The verifier sees a leaked question as any other, so the leak is looked for in a run without it.
    summary = synthesise(loaded, folder / "verified", teachers=oracle_answers)
    synthesise(recipe(table), folder / "unverified", teachers=oracle_answers)
    return summary, folder, dict(oracle.planted)


def reasons_by_prompt(folder: Path) -> dict[int, str]:
    """The reason of each dropped item, by its number."""
    return {int(row["id"].split("-")[1]): row["reason"] for row in rows(folder, "dropped.jsonl")}


def precision_and_recall(found: set[int], true: set[int]) -> tuple[float, float]:
    return len(found & true) / max(len(found), 1), len(found & true) / max(len(true), 1)


@pytest.mark.parametrize("fault", CAUGHT)
def test_a_planted_fault_is_caught_as_what_it_is(planted: Any, fault: str) -> None:
    summary, folder, faults = planted
    assert balanced(summary)
    asked = [json.loads(line)["prompt"] for line in (folder / "prompts.jsonl").read_text().splitlines()]
    true = {number for number, prompt in enumerate(asked[:1000]) if faults.get(prompt) == fault}
    dropped = {number: reason for number, reason in reasons_by_prompt(folder / "verified").items() if number < 1000}
    assert len(true) >= 25
    precision, recall = precision_and_recall({n for n, reason in dropped.items() if reason == CAUGHT[fault]}, true)
    assert precision >= 0.95 and recall >= 0.95, (fault, Counter(dropped.values()))


def test_nothing_sound_is_dropped(planted: Any) -> None:
    _, folder, faults = planted
    asked = [json.loads(line)["prompt"] for line in (folder / "prompts.jsonl").read_text().splitlines()]
    sound = {number for number, prompt in enumerate(asked[:1000]) if prompt not in faults}
    dropped = sound & set(reasons_by_prompt(folder / "verified"))
    assert len(dropped) <= 0.01 * len(sound)


@pytest.mark.parametrize(
    ("kind", "reasons"), [("leaked", {"overlap"}), ("duplicated", {"duplicate", "near duplicate"})]
)
def test_pc8_leaked_and_duplicated_rows_are_caught(planted: Any, kind: str, reasons: set[str]) -> None:
    """s1 26, PromptCoT 8: an evaluation problem is one with other numbers too. ragas 789: repeated rows are counted."""
    _, folder, faults = planted
    asked = [json.loads(line)["prompt"] for line in (folder / "prompts.jsonl").read_text().splitlines()]
    first = range(1000, 1000 + LEAKED) if kind == "leaked" else range(1000 + LEAKED, 1000 + LEAKED + COPIED)
    # Without a verifier a wrong answer is as good as another.
    true = {number for number in first if faults.get(asked[number], "wrong") == "wrong"}
    found = {number for number, reason in reasons_by_prompt(folder / "unverified").items() if reason in reasons}
    precision, recall = precision_and_recall(found, true)
    assert precision >= 0.95 and recall >= 0.95, (len(found), len(true))
