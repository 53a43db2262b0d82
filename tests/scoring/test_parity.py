"""Verdicts of others on answers of published models, reproduced."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.sandbox import check_available
from tutelage.scoring import make_verifier
from tutelage.scoring.constraints import constraints

CODEX = "bbh/code-davinci-002-outputs/code-davinci-002-cot/{}_few_shot_template_0-255000.json"


def rows_of(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_the_flags_of_gsm8ks_model_solutions(data: Callable[[str], Path]) -> None:
    """Four models on 1,319 problems; each of the 5,276 flags."""
    verify = make_verifier("numeric")
    for row in rows_of(data("gsm8k/example_model_solutions.jsonl.gz")):
        gold = row["ground_truth"].rpartition("A: ")[2]
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            outcome = verify(row[model]["solution"], gold).outcome
            assert (outcome == "right") == row[model]["is_correct"], row


@pytest.mark.parametrize("strict", [True, False])
def test_the_verdicts_on_answers_to_math(data: Callable[[str], Path], strict: bool) -> None:
    """8 answers to each of 100 problems; 95 have a number as gold. The one verdict that differs calls 10000 wrong where
    the gold is 10{,}000."""
    verify = make_verifier({"kind": "numeric", "strict": strict})
    differ, refused = [], []
    for row in rows_of(data("math_sets/eval_rm_maj_example/math_cot_100.jsonl.gz")):
        try:
            outcomes = [verify(answer, row["gt"]).outcome for answer in row["code"]]
        except ValueError:
            refused.append(row["gt"])
            continue
        pairs = zip(outcomes, row["score"], strict=True)
        differ += [(row["gt"], outcome) for outcome, right in pairs if (outcome == "right") != right]
    assert differ == [("10{,}000", "right")]
    assert refused == ["4:30p..", "4a-2", "4t", r"7\pi", "A"]


@pytest.mark.parametrize(
    ("task", "verifier", "percent"),
    [
        ("boolean_expressions", "exact", 92.8),
        ("date_understanding", "choice", 87.2),
        ("multistep_arithmetic_two", "numeric", 47.6),
        ("navigate", "exact", 96.4),
        ("object_counting", "numeric", 93.2),
        ("word_sorting", "exact", 40.4),
        ("boolean_expressions", "contains", 99.6),  # why an answer is extracted
    ],
)
def test_published_scores_of_codex_on_bbh(
    data: Callable[[str], Path], task: str, verifier: str, percent: float
) -> None:
    """Suzgun et al., arXiv 2210.09261: code-davinci-002 with chain of thought."""
    verify = make_verifier(verifier)
    outputs = json.loads(data(CODEX.format(task)).read_text(encoding="utf-8"))["outputs"]
    right = [verify(output["prediction"], output["target"]).outcome == "right" for output in outputs]
    assert 100 * sum(right) / len(right) == pytest.approx(percent)


def plain_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_official_verdicts_of_ifeval_on_gpt_4(data: Callable[[str], Path]) -> None:
    """arXiv 2311.07911: 146 of 182 instructions, strict. One verdict differs: where the prompt names "#", the published
    checker draws a random letter and counts that."""
    rows = {row["key"]: row for row in plain_rows(data("ifeval/split_give_120.jsonl"))}
    answers = {row["prompt"]: row["response"] for row in plain_rows(data("ifeval/gpt4_answers_120.jsonl"))}
    differ, strict, loose = [], 0, 0
    for verdict in plain_rows(data("ifeval/gpt4_verdicts_120.jsonl")):
        row = rows[verdict["key"]]
        every = zip(row["instruction_id_list"], row["kwargs"], verdict["strict"], verdict["loose"], strict=True)
        for kind, arguments, official, official_loose in every:
            gold = json.dumps([{"kind": kind, **arguments}])
            answer = answers[row["prompt"]]
            ours = (
                constraints(answer, gold).outcome == "right",
                constraints(answer, gold, loose=True).outcome == "right",
            )
            strict, loose = strict + ours[0], loose + ours[1]
            if ours != (official, official_loose):
                differ.append((row["key"], kind))
    assert differ == [(1122, "keywords:letter_frequency")]
    assert (strict, loose) == (146 + 1, 150 + 1)


@pytest.mark.skipif(bool(check_available()), reason=check_available())
def test_flags_of_gpt_4_on_mbpp(data: Callable[[str], Path]) -> None:
    """Every twelfth of 397 programs of Reflexion's GPT-4: as flagged, but for those that the data's note names."""
    verify = make_verifier({"kind": "unit_tests", "seconds": 4, "memory_mib": 2048})
    rows = rows_of(data("mbpp_gpt4/gpt4_simple.jsonl.gz"))[::12]
    known = ("mbpp_67_", "mbpp_170_", "mbpp_419_", "mbpp_598_", "mbpp_724_", "mbpp_798_")
    for row in rows:
        right = verify(row["solution"], row["test"]).outcome == "right"
        assert right == (row["is_solved"] or row["name"].startswith(known)), row["name"]
