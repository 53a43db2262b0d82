from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tutelage.config import convert, to_plain
from tutelage.evaluate.statistics import rate
from tutelage.files import write_json
from tutelage.ledger import Ledger
from tutelage.recipe import Recipe
from tutelage.runner import Run
from tutelage.stages.run import LAYOUT

RECIPE: dict[str, Any] = {
    "name": "made",
    "model": {"depth": 1},
    "data": {"world": {"kind": "world", "people": 20}, "chat": {"kind": "world-chat"}},
    "stages": {
        "base": {"kind": "pretrain", "data": {"world": 1}, "steps": 100},
        "chat": {"kind": "sft", "from": "base", "data": {"chat": 1}, "replay": 0.5, "steps": 20, "evaluate_every": 10},
    },
    "evaluate": {"chat": ["format", "knowledge", "forgetting"]},
}


def as_rate(successes: int, count: int) -> dict[str, Any]:
    found = rate(successes, count)
    return {"rate": found.rate, "low": found.low, "high": found.high, "count": count}


def outcomes(successes: int, count: int) -> list[tuple[str, int]]:
    return [(f"item {number}", int(number < successes)) for number in range(count)]


def bits(after: float) -> list[tuple[str, float, float, int]]:
    """Twelve pieces of text of different lengths; `after` is the loss after over the loss before."""
    return [(str(piece), 10.0 + piece, (10.0 + piece) * after, 40 + piece) for piece in range(12)]


def stage_file(run: Run, name: str) -> dict[str, Any]:
    """The stage.json of a stage."""
    ledger = Ledger(f"{name}: documents to tokens")
    ledger.read(10, 1000)
    ledger.keep(8, 800)
    ledger.drop("longer than the context of 128 tokens", 2, 200, where="rows.jsonl:7")
    steps = run.recipe.stages[name].steps
    return {
        "layout": LAYOUT,
        "name": name,
        "title": run.recipe.stages[name].title,
        "chats": run.recipe.stages[name].chats,
        "fingerprint": run.fingerprint(name),
        "settings": to_plain(run.recipe.stages[name]),
        "lr": 0.002,
        "parameters": 1_049_728,
        "vocab": 2048,
        "steps": steps,
        "tokens": 3_386_335,
        "trained_tokens": 3_346_170.0,
        "seconds": 288.3,
        "tokens_per_second": 11745.6,
        "loss": 0.25,
        "loss_start": 7.5,
        "held_out": {"world": 0.75},
        "epochs": {"world": 5.0},
        "trained_by_dataset": {"world": 3_346_170.0},
        "ledgers": {"world": ledger.to_dict()},
        "stores": {"world": "abc"},
        "peak_rss_bytes": 3 * 2**30,
        "environment": {"python": "3.11", "cores": 2},
        "selected": {"step": 10, "by": "best_eval", "score": 0.9, "lowest_loss_step": 20, "last": steps},
    }


def log_lines(run: Run, name: str) -> list[dict[str, Any]]:
    """A log: a line a step, and two eval steps."""
    steps = run.recipe.stages[name].steps
    lines: list[dict[str, Any]] = [
        {
            "step": step,
            "loss": 7.0 / step,
            "lr": 0.001 * step,
            "gradient_norm": 1.5,
            "tokens": step,
            "trained_tokens": step,
        }
        for step in range(1, steps + 1)
    ]
    for line in (lines[steps // 2 - 1], lines[-1]):
        line["held_out.world"] = 2 * line["loss"]
        line["samples"] = [{"prompt": "Once upon", "written": f"a step {line['step']}", "truth": "a time"}]
        if name == "chat":
            line["base_held_out.world"] = 1.0
            line["dev_eval"] = {"format": as_rate(line["step"], 20), "score": line["step"] / 20}
    return lines


def results(
    compliant: int = 90, held_out: int = 70, hallucinated: int = 50, after: float = 1.2, asked: int = 100
) -> dict[str, dict[str, Any]]:
    """The results of the evaluations of a fine-tuned stage, with so many successes of `asked`."""
    sample = {
        "set": "near",
        "prompt": "Who is <b>she</b>?",
        "before": "on the roof",
        "after": "Ann.",
        "compliant": True,
        "reference": "She is <Bea>.",
    }
    increase = {"increase": after - 1, "low": after - 1.05, "high": after - 0.95}
    forgetting = {"before": 1.0, "after": after, **increase, "alarm": after > 1.1}
    return {
        "format": {
            "rates": {
                "compliant": as_rate(compliant, asked),
                "stops": as_rate(95, 100),
                "prompts.near": as_rate(40, 50),
                "verbatim": as_rate(3, 100),
            },
            "outcomes": {"compliant": outcomes(compliant, asked)},
            "samples": [sample, {**sample, "set": "seen", "prompt": "And he?", "compliant": False}],
            "figures": {"failures": []},
        },
        "knowledge": {
            "rates": {
                "held_out": as_rate(held_out, asked),
                "held_out.reversal": as_rate(1, 10),
                "unknown.hallucinated": as_rate(hallucinated, asked),
            },
            "outcomes": {
                "held_out": outcomes(held_out, asked),
                "held_out.reversal": outcomes(1, 10),
                "unknown.hallucinated": outcomes(hallucinated, asked),
            },
            "samples": [],
            "figures": {},
        },
        "forgetting": {
            "rates": {},
            "outcomes": {"world": bits(after)},
            "samples": [],
            "figures": {**forgetting, "by_data": {"world": forgetting}},
        },
    }


Results = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def make_results() -> Results:
    """Makes the results of the evaluations of a fine-tuned stage."""
    return results


MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a finished run by hand: its recipe, and the files that its stages and evaluations would have written."""

    def make(
        name: str = "run",
        changes: Mapping[str, Any] | None = None,
        found: Mapping[str, Mapping[str, Any]] | None = None,
        stages: tuple[str, ...] = ("base", "chat"),
    ) -> Run:
        plain = copy.deepcopy(RECIPE)
        for dotted, value in (changes or {}).items():
            *above, last = dotted.split(".")
            inner = plain
            for key in above:
                inner = inner[key]
            inner[last] = value
        run = Run(convert(plain, Recipe, "a test"), tmp_path / name)
        write_json(run.folder / "recipe.json", {"format": LAYOUT, **to_plain(run.recipe)})
        for stage in stages:
            folder = run.folder / stage
            write_json(folder / "stage.json", stage_file(run, stage))
            lines = [json.dumps(line) + "\n" for line in log_lines(run, stage)]
            (folder / "train.jsonl").write_text("".join(lines))
        if "chat" in stages:
            for suite, result in (results() if found is None else found).items():
                path = run.folder / "chat" / "evaluate" / f"{suite}.json"
                write_json(path, {"fingerprint": "x", "results": result})
        return run

    return make
