"""Logs for inspect_ai. It has an environment of its own, whose Python TUTELAGE_INSPECT names."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tutelage.evaluate.benchmarks.measured import Measured, outcome_rates, write_measured
from tutelage.evaluate.inspect_log import inspect_log, write_inspect_log
from tutelage.evaluate.item_results import ItemResult, Sample
from tutelage.evaluate.statistics import rate

READ = """
import json, sys
from inspect_ai.analysis import evals_df, samples_df
from inspect_ai.log import list_eval_logs, read_eval_log
(info,) = list_eval_logs(sys.argv[1])
log, header = read_eval_log(info), read_eval_log(info, header_only=True)
print(json.dumps({
    "status": log.status, "task": header.eval.task, "model": header.eval.model, "epochs": log.eval.config.epochs,
    "scores": {one.name: one.metrics["accuracy"].value for one in log.results.scores},
    "ids": [(one.id, one.epoch) for one in log.samples],
    "values": [{name: score.value for name, score in one.scores.items()} for one in log.samples],
    "stops": [one.output.stop_reason for one in log.samples],
    "texts": [one.output.completion for one in log.samples],
    "rows": [len(evals_df(sys.argv[1])), len(samples_df(sys.argv[1]))],
}))
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A sum with two samples, one cut off; a question of multiple choice; and one that was too long to be asked."""
    passed = [{"lenient": True, "strict": False}, {"lenient": False, "strict": False}]
    samples = [
        Sample("It is 4.", "right", passed[0], "4", 5, -1.5),
        Sample("2 + 2 is", "cut off", passed[1], "", 6, -2.0),
    ]
    items = [
        ItemResult("a", "2 + 2?", "4", "right", "sums", {"lenient": 0.5, "strict": 0.0}, "It is 4.", samples=samples),
        ItemResult("b", "A or B?", "B", "wrong", "", {"lenient": 0.0}, "A", [-1.0, -2.0], [1, 1]),
        ItemResult("c", "long", "B", "too long"),
    ]
    rates = {"lenient": rate(1, 3), **outcome_rates(["right", "cut off", "wrong"])}
    measured = Measured("sum_set", "Sums", "chat", "lenient", items, rates, {"macro": 0.25}, ["sums.jsonl"], 3)
    settings = {"max_tokens": 6, "temperature": 0.8, "seed": 0, "limit": None}
    more = {"model": "runs/tiny", "weights": "w", "data": {"sums.jsonl": "d"}, "settings": settings, "seconds": 1.0}
    write_measured(tmp_path / "sum_set", measured, more)
    return tmp_path / "sum_set"


def test_every_sample_is_an_epoch_and_outcomes_are_kept(results: Path) -> None:
    log = inspect_log(results)
    assert next(iter(log)) == "version" and log["version"] == 2
    assert [(one["id"], one["epoch"]) for one in log["samples"]] == [("a", 1), ("a", 2), ("b", 1), ("c", 1)]
    outcomes = [next(iter(one["scores"].values()))["metadata"]["outcome"] for one in log["samples"]]
    assert outcomes == ["right", "cut off", "wrong", "too long"]
    assert log["samples"][2]["metadata"] == {"logprobs": [-1.0, -2.0], "tokens": [1, 1]}
    assert log["eval"]["metadata"]["weights"] == "w" and log["plan"]["config"]["max_tokens"] == 6
    assert log["eval"]["model"] == "tutelage/tiny"


@pytest.mark.slow
@pytest.mark.skipif("TUTELAGE_INSPECT" not in os.environ, reason="TUTELAGE_INSPECT names no Python with inspect_ai")
def test_inspect_ai_reads_it(results: Path, tmp_path: Path) -> None:
    path = write_inspect_log(results, tmp_path / "logs")
    assert path.name.endswith(".json")
    command = [os.environ["TUTELAGE_INSPECT"], "-c", READ, str(tmp_path / "logs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (found["status"], found["task"], found["model"]) == ("success", "sum_set", "tutelage/tiny")
    assert found["epochs"] == 2 and found["rows"] == [1, 4]
    assert found["ids"] == [["a", 1], ["a", 2], ["b", 1], ["c", 1]]
    assert found["values"] == [
        {"lenient": "C", "strict": "I"},
        {"lenient": "I", "strict": "I"},
        {"lenient": "I"},
        {"outcome": "N"},
    ]
    assert found["stops"] == ["stop", "max_tokens", "stop", "model_length"]
    assert found["texts"] == ["It is 4.", "2 + 2 is", "A", ""]
    assert found["scores"]["lenient"] == pytest.approx(1 / 3) and found["scores"]["cut_off"] == pytest.approx(1 / 3)
