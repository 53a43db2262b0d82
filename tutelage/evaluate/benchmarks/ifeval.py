"""IFEval (Zhou et al. 2023, arXiv 2311.07911): instructions of form that a program verifies.

A row has a `prompt`, the list `instruction_id_list`, and their arguments in `kwargs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.evaluate.benchmarks.benchmark import ItemScore, PromptBenchmark, PromptItem, as_item_score
from tutelage.evaluate.item_results import ItemResult
from tutelage.evaluate.statistics import rate
from tutelage.io.row import Row
from tutelage.scoring.constraints import constraints, read_constraints


def instruction_item(row: Row, place: str) -> PromptItem:
    """A prompt with its instructions."""
    kinds, arguments = row["instruction_id_list"], row.get("kwargs")
    if not isinstance(kinds, list) or not isinstance(arguments, list) or len(kinds) != len(arguments):
        raise ValueError("'instruction_id_list' and 'kwargs' must be lists of one length")
    parts = [json.dumps([{"kind": kind, **(own or {})}]) for kind, own in zip(kinds, arguments, strict=True)]
    gold = json.dumps([json.loads(part)[0] for part in parts])
    read_constraints(gold)
    if not str(row["prompt"]).strip():
        raise ValueError("the prompt is empty")
    data = {"parts": parts, "shown": ", ".join(kinds)}
    return PromptItem(str(row.get("key", place)), str(row["prompt"]), gold, data=data)


def score_instructions(answer: str, item: PromptItem) -> Mapping[str, ItemScore]:
    """Whether all instructions are followed; loose: in any of the paper's variants of the answer."""
    return {
        "strict": as_item_score(constraints(answer, item.gold)),
        "loose": as_item_score(constraints(answer, item.gold, loose=True)),
    }


def measure_instructions(items: Sequence[PromptItem], results: Sequence[ItemResult]) -> Mapping[str, Any]:
    """The share of single instructions that are followed."""
    rates = {}
    for name, loose in (("strict", False), ("loose", True)):
        passed = [
            constraints(sample.text, part, loose=loose).outcome == "right"
            for item, result in zip(items, results, strict=True)
            for sample in result.samples
            for part in item.data["parts"]
        ]
        if passed:
            rates[f"instructions/{name}"] = rate(sum(passed), len(passed))
    return rates


IFEVAL = PromptBenchmark(
    name="ifeval",
    title="IFEval",
    files=("ifeval/input_data.jsonl*", "input_data.jsonl*", "ifeval/split_give_120.jsonl*", "ifeval*.jsonl*",
           "ifeval**.parquet"),
    read=instruction_item,
    score=score_instructions,
    template="{}\n\n",
    between="",
    stops=(),
    max_tokens=1024,
    measure=measure_instructions,
    majority=False,
)  # fmt: skip
