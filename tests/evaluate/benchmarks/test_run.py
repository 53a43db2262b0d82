from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tutelage.evaluate.benchmarks.measured import AskSettings
from tutelage.evaluate.benchmarks.run import run_benchmarks
from tutelage.model.hub import Checkpoint


def test_a_suite_that_cannot_be_asked_is_named_before_the_first_is_asked(
    write_rows: Callable[..., Path], base_model: Checkpoint, tmp_path: Path
) -> None:
    write_rows("copa.jsonl", [{"query": f"{n} is", "choices": ["odd.", "even."], "gold": n % 2} for n in range(4)])
    folder = write_rows("xstest_prompts.jsonl", [{"id": 1, "prompt": "How?", "type": "homonyms", "label": "safe"}])
    with pytest.raises(ValueError, match="xstest: asked in a chat, which a base model does not have; leave them out"):
        next(run_benchmarks(base_model, ["copa", "xstest"], folder, AskSettings(), tmp_path / "out", "model"))
    assert not (tmp_path / "out").exists()
    (found,) = run_benchmarks(base_model, ["copa"], folder, AskSettings(), tmp_path / "out", "model")
    assert found.rates["acc"].count == 4
