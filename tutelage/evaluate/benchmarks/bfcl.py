"""The Berkeley Function-Calling Leaderboard (Patil et al. 2023, arXiv 2305.15334), its questions with one turn: simple
calls in Python, one of several functions, several calls, and questions that no function fits.

A file of a category has the `question` and the `function` descriptions; a file of the same name in `possible_answer`
has the gold calls under the same `id`. Calls are compared by the leaderboard's AST rules (scoring.calls).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tutelage.evaluate.benchmarks.benchmark import ItemScore, PromptBenchmark, PromptItem
from tutelage.evaluate.benchmarks.data_folder import read_rows
from tutelage.io.row import Row
from tutelage.scoring.calls import CallScore, Kind, read_made_calls, score_calls
from tutelage.scoring.extract import visible

SYSTEM = (
    "You compose function calls. Answer the question with calls of these functions, and with nothing else, as "
    '[name(parameter="value", other=1), name2(...)]. If none of the functions fits, or a parameter that is required is '
    "missing, say so and call none. The functions, as JSON:\n"
)
# Other categories run code, keep state over turns, or are in other languages.
_KINDS: Mapping[str, Kind] = {
    "simple": "simple",
    "simple_python": "simple",
    "live_simple": "simple",
    "multiple": "multiple",
    "live_multiple": "multiple",
    "parallel": "parallel",
    "parallel_multiple": "parallel",
    "live_parallel": "parallel",
    "live_parallel_multiple": "parallel",
    "irrelevance": "irrelevance",
    "live_irrelevance": "irrelevance",
}


def gold_files(file: Path) -> tuple[Path, ...]:
    """Where the gold calls of a category are. They were corrected over time, so that a score names their digest."""
    return (file.parent / "possible_answer" / file.name,)


def read_calls(files: Sequence[Path]) -> list[PromptItem]:
    """The questions of all categories that are known.

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken, or a question has no gold calls.
    """
    items: list[PromptItem] = []
    for file in files:
        category = re.sub(r"\ABFCL_v\d+_|\.json.*\Z", "", file.name)
        if category not in _KINDS:
            continue
        kind, golds = _KINDS[category], {}
        (gold_file,) = gold_files(file)
        if kind != "irrelevance":
            golds = dict(read_rows([gold_file], lambda row, place: (str(row["id"]), row["ground_truth"])))

        def read(row: Row, place: str, category: str = category, golds: Mapping[str, object] = golds) -> PromptItem:
            return _item(row, category, golds)

        items += read_rows([file], read)
    return items


def _item(row: Row, category: str, golds: Mapping[str, object]) -> PromptItem:
    name, turns = str(row["id"]), row["question"]
    messages = turns[0] if turns and isinstance(turns[0], list) else turns
    if _KINDS[category] != "irrelevance" and name not in golds:
        raise ValueError(f"possible_answer has no gold calls of {name}")
    gold = golds.get(name, [])
    system = "\n".join(str(turn["content"]) for turn in messages if turn["role"] == "system")
    question = "\n".join(str(turn["content"]) for turn in messages if turn["role"] == "user")
    functions = row["function"] if isinstance(row["function"], list) else [row["function"]]
    described = SYSTEM + json.dumps(functions, ensure_ascii=False)
    data = {
        "functions": functions,
        "kind": _KINDS[category],
        "shown": json.dumps(gold, ensure_ascii=False) if gold else "no call",
    }
    return PromptItem(name, question, gold, "", category, f"{system}\n\n{described}".strip(), data=data)


def score_item(answer: str, item: PromptItem) -> Mapping[str, ItemScore]:
    """Lenient: calls as JSON or as Python, also with Python's literals inside JSON. Strict: JSON must be JSON."""
    return {"lenient": _score(answer, item, strict=False), "strict": _score(answer, item, strict=True)}


def _score(answer: str, item: PromptItem, strict: bool) -> ItemScore:
    text = visible(answer)
    if fenced := re.search(r"```(?:json|python|tool_code)?\s*(.*?)(?:```|\Z)", text, re.DOTALL):
        text = fenced[1] if not strict else text
    made = read_made_calls(text, strict)
    try:
        score: CallScore = score_calls(made, item.gold, item.data["functions"], item.data["kind"])
    except (KeyError, TypeError, AttributeError) as error:
        return ItemScore("unparsable", f"the functions of this question cannot be read ({error!r})")
    read = "" if made is None else "; ".join(f"{call.name}({dict(call.arguments)})" for call in made)
    return ItemScore(score.outcome, read if score.outcome == "right" or not score.reason else f"{score.reason}: {read}")


BFCL = PromptBenchmark(
    name="bfcl",
    title="Berkeley Function Calling, one turn",
    files=("bfcl/bfcl_v*.json*", "BFCL_v*.json*"),
    read=lambda row, place: _item(row, "irrelevance", {}),
    read_files=read_calls,
    score=score_item,
    max_tokens=256,
    chat_only=True,
    majority=False,
    read_beside=gold_files,
)
