"""A small model on the engine as a teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
from synth_runs import balanced, files, recipe

from tutelage.runner import Run
from tutelage.synth.local_teacher import cache_pages
from tutelage.synth.runner import synthesise


def test_answers_depend_on_their_question_alone_and_are_asked_for_once(tales_run: Run, tmp_path: Path) -> None:
    lines = [f'{{"prompt": "who sees the {noun}?"}}\n' for noun in ("cat", "dog", "fox", "hen", "owl")]
    (tmp_path / "prompts.jsonl").write_text("".join(lines))
    teacher = {"kind": "local", "path": str(tales_run.folder / "chat")}
    make = {"kind": "teacher_swap", "sampling": {"max_tokens": 12}}
    table = {"make": make, "input": str(tmp_path / "prompts.jsonl"), "min_kept": 0}
    alone, together = (recipe({**table, "teacher": {**teacher, "parallel": count}}) for count in (1, 4))
    summary = synthesise(alone, tmp_path / "alone")
    synthesise(together, tmp_path / "together")
    assert files(tmp_path / "alone") == files(tmp_path / "together") and balanced(summary)
    assert summary["usage"]["teacher"]["requests"] == 5
    again = synthesise(together, tmp_path / "together", again=True)["usage"]["teacher"]
    assert (again["requests"], again["cached"]) == (0, 5)
    assert files(tmp_path / "alone") == files(tmp_path / "together")


@pytest.mark.parametrize(("parallel", "context", "tokens"), [(16, 8192, 16384), (1, 8192, 8208), (4, 64, 320)])
def test_memory_of_the_cache_is_bounded(parallel: int, context: int, tokens: int) -> None:
    assert cache_pages(parallel, context) * 16 == tokens
