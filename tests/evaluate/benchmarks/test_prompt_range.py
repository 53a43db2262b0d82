from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.evaluate.benchmarks import run_prompts as module
from tutelage.evaluate.benchmarks.code_sets import HUMAN_EVAL
from tutelage.evaluate.benchmarks.examined import format_lines
from tutelage.evaluate.benchmarks.math_sets import MATH_SETS
from tutelage.evaluate.benchmarks.measured import AskSettings
from tutelage.evaluate.benchmarks.prompt_range import formats, prompt_range
from tutelage.evaluate.benchmarks.run_prompts import read_prompt_set, run_prompts
from tutelage.evaluate.benchmarks.xstest import XSTEST
from tutelage.evaluate.result_cache import ResultCache
from tutelage.evaluate.sampled_answers import SampledAnswer
from tutelage.model.hub import Checkpoint

WriteRows = Callable[[str, Any], Path]
GSM8K = MATH_SETS["gsm8k"]
ROWS = [{"question": f"How much is {n} + {n}?", "answer": f"#### {2 * n}"} for n in range(1, 13)]


def test_the_range_over_prompt_formats(
    write_rows: WriteRows, chat_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripted model fails wherever "Please" stands, and without examples. Each format differs in one thing."""
    asked: dict[str, str] = {}

    def write(checkpoint: Any, prompts: Any, settings: Any, samples: int, chat: bool, *rest: Any) -> Any:
        text = prompts[0].text
        asked[text] = "chat" if chat else "plain"
        right = "Please" not in text and text.count("The answer is") >= 5
        return [[SampledAnswer("The answer is " + ("2" if right else "3"), 5, -1.0, "stop")] for _ in prompts]

    monkeypatch.setattr(module, "sample_answers", write)
    files = [write_rows("gsm8k/test.jsonl", [ROWS[0], *ROWS[2:]]) / "gsm8k/test.jsonl"]
    settings = AskSettings(limit=1)
    item = read_prompt_set(GSM8K, files)[0]
    monkeypatch.setattr(module, "stratified_order", lambda items, seed: [item])
    measured = run_prompts(chat_model, GSM8K, files, [], settings, ResultCache())
    found = prompt_range(chat_model, GSM8K, files, [], settings, measured, ResultCache())
    assert found is not None
    assert {form["name"]: form["rate"] for form in found["formats"]} == {
        "as asked": 1, "'Question:', 'Answer:'": 1, "'Please answer'": 0, "without its instruction": 1,
        "0 examples": 0, "plain text": 1,
    }  # fmt: skip
    assert (found["low"], found["median"], found["high"], found["changed"]["rate"]) == (0, 1, 1, 1)
    assert len(asked) == 6 and [*asked.values()] == ["chat"] * 5 + ["plain"]
    assert "over 6 formats of 1 questions" in next(format_lines(found))


def test_formats_keep_what_the_answer_depends_on(chat_model: Checkpoint) -> None:
    names = [name for name, *_ in formats(HUMAN_EVAL, AskSettings(), chat=False, chats=False)]
    assert names == ["5 examples"]  # code goes on with the template
    names = [name for name, *_ in formats(XSTEST, AskSettings(), chat=True, chats=True)]
    assert "plain text" not in names
