from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from tiny_recipe import run_quietly

from tutelage.runner import Run

MakeRun = Callable[..., Run]


def log_of(run: Run, kind: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run.folder / kind / "train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("kind", "loss"), [("dpo", math.log(2)), ("reward", math.log(2)), ("kto", 0.5)])
def test_pain_19_every_run_begins_at_the_reference(preference_run: MakeRun, kind: str, loss: float) -> None:
    """The loss of the first step is what it must be where policy and reference are one model, and the margin 0."""
    run = run_quietly(preference_run(kind), kind)
    log = log_of(run, kind)
    assert log[0]["loss"] == pytest.approx(loss, abs=1e-6)
    assert log[0]["margin"] == pytest.approx(0, abs=1e-6)
    assert log[-1]["loss"] < log[0]["loss"]
