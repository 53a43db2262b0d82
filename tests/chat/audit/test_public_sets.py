"""How much the checks of answers find in public sets, every hit read once: their precision on what people train on."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.chat.audit import audit_file
from tutelage.chat.audit.check import Exchange
from tutelage.chat.audit.checks.refusal import find_refusal

Write = Callable[..., Path]
FULL = "The bees carry the pollen of the {} back to the hive, where the others take it from them."
CUT = "The bees carry the pollen of the {} back to the hive, and the others come to the"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # A transformation into a question is no swap; the mail addresses are nobody's.
        ("llamafactory_demos/alpaca_en_demo.json", {"truncated": 5}),
        ("llamafactory_demos/glaive_toolcall_en_demo.json", {"truncated": 1}),
        ("llamafactory_demos/v1_sft_demo.jsonl", {"truncated": 2}),
        # The sender of a mail of a bank.
        ("self_instruct/seed_tasks.jsonl", {"personal data": 1}),
        ("gpteacher/Roleplay/roleplay-simple-deduped-roleplay-dataset.json.gz", {"truncated": 1}),
        ("oasst_sample/en_100_tree.jsonl", {}),
    ],
)
def test_findings_in_public_sets(data: Callable[[str], Path], name: str, expected: dict[str, int]) -> None:
    rows = audit_file(data(name)).rows
    checks = ("truncated", "swapped turns", "secret", "personal data", "identity")
    assert {check: len(rows[check]) for check in checks if check in rows} == expected


def test_one_cut_answer_of_thirty_is_found_by_its_missing_end(write: Write) -> None:
    """B12: one cut answer of 30 leaves 96.7% finished, and the rule asks for 97%."""
    rows = [[f"What do bees do in month {n}?", FULL.format(f"flower {n}")] for n in range(30)]
    rows[12][1] = rows[12][1].rsplit(" ", 4)[0]
    assert audit_file(write(rows)).rows["truncated"].tolist() == [12]
    rows[13][1] = rows[13][1].rsplit(" ", 4)[0]  # two may be a habit
    assert "truncated" not in audit_file(write(rows)).rows


def test_a_cut_answer_is_found_by_its_last_word_in_a_file_of_any_size(write: Write) -> None:
    rows = [["What do bees do?", CUT.format("lime")], ["And ants?", FULL.format("ants")]]
    assert audit_file(write(rows)).rows["truncated"].tolist() == [0]


def test_refusals_are_those_that_people_found(data: Callable[[str], Path]) -> None:
    """XSTest: completions that two people labelled; those of Llama 2 and GPT-4, which refuse in words. Mistral lectures
    instead, and no pattern finds that."""
    found, labels = [], []
    for name in ("gpt4.csv", "llama2orig.csv.gz"):
        path = data(f"xstest/xstest_v2_completions_{name}")
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            rows = [row for row in csv.DictReader(file) if row["final_label"] != "3_partial_refusal"]
        labels += [row["final_label"] == "2_full_refusal" for row in rows]
        answers = [row["completion"] for row in rows]
        found += [find_refusal(Exchange("", answer, answer.lower())) >= 0 for answer in answers]
    hits = sum(one and other for one, other in zip(found, labels, strict=True))
    assert len(labels) == 836 and hits / sum(found) >= 0.95 and hits / sum(labels) >= 0.95, (hits, sum(found))
