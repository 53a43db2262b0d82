"""Time and memory that `tutelage run` predicts before it trains, and what training then takes.

Three recipes: the demo; supervised fine-tuning of the real checkpoint that `--model` names, such as
SmolLM2-135M-Instruct; and preferences in the built-in world (SFT, reward model, DPO). Each runs in a process of its
own, without evaluations, and prints a line per stage: predicted, measured, and predicted over measured. The JSON line
compares the seconds of all stages; the aim is a ratio between 0.75 and 1.25 for each. --quick takes less data and fewer
steps.

    python benchmarks/predicted.py [--model DIR]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from common import CHECKOUT, THREADS, argument_parser, print_result

AIM = 0.25
REAL = """
name = "real"
[data]
world = {{ kind = "world", people = 40, versions = 1, unknown = 0.0 }}
chat  = {{ kind = "world-chat", split = "train" }}
[stages.base]
kind = "model"
path = {path}
[stages.chat]
kind         = "sft"
from         = "base"
data         = {{ chat = 1 }}
steps        = {steps}
batch_tokens = 1024
"""
QUICK = {
    "demo": ["data.world.people=40", "data.world.versions=5"],
    "preferences_world": ["data.answers.rows=200", "data.pairs.rows=200", "data.ranked.rows=200"],
    "real": [],
}


class Row(NamedTuple):
    """A stage: seconds and MiB, as predicted and as measured."""

    stage: str
    seconds: tuple[float, float]
    mib: tuple[float, float]

    def ratios(self) -> tuple[float, float]:
        """Predicted over measured, of time and of memory."""
        return self.seconds[0] / self.seconds[1], self.mib[0] / self.mib[1]

    def line(self) -> str:
        """All as one line."""
        figures = zip((self.seconds, self.mib), ("s", "MiB"), self.ratios(), strict=True)
        parts = [f"{a:>8,.1f} {unit} predicted {b:>8,.1f} measured {ratio:.2f}" for (a, b), unit, ratio in figures]
        return f"{self.stage:<26}{'  '.join(parts)}"


def run(recipe: Path, overrides: list[str], folder: Path) -> list[Row]:
    """Run a recipe in a child process; a row for each of its stages."""
    command = [sys.executable, "-m", "tutelage", "run", str(recipe), f"out={folder}", "evaluate={chat=[]}", *overrides]
    threads = {"OMP_NUM_THREADS": str(THREADS), **os.environ}
    child = subprocess.run(command, env={**threads, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True)
    if child.returncode:
        sys.exit(f"{recipe.stem} failed:\n{child.stderr}")
    rows = []
    for name, before in _read(folder / "predicted.json")["stages"].items():
        after = _read(folder / name / "stage.json")
        mib = before["peak_rss_bytes"] / 2**20, after["peak_rss_bytes"] / 2**20
        rows.append(Row(f"{recipe.stem}/{name}", (before["seconds"], after["seconds"]), mib))
    return rows


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


if __name__ == "__main__":
    parser = argument_parser()
    parser.add_argument("--model", metavar="DIR", help="a real checkpoint; without it that part is left out")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        recipes = [CHECKOUT / "recipes" / f"{name}.toml" for name in ("demo", "preferences_world")]
        if arguments.model:
            path = json.dumps(str(Path(arguments.model).resolve()))
            recipes.append(Path(temporary, "real.toml"))
            recipes[-1].write_text(REAL.format(path=path, steps=3 if arguments.quick else 12))
        for recipe in recipes:
            for row in run(recipe, QUICK[recipe.stem] if arguments.quick else [], Path(temporary, recipe.stem)):
                print(row.line(), flush=True)
                rows.append(row)
    totals = [sum(row.seconds[which] for row in rows) for which in (0, 1)]
    outside = [row.stage for row in rows if any(abs(ratio - 1) > AIM for ratio in row.ratios())]
    print_result(
        "predicted", *totals, "seconds of training", quick=arguments.quick, outside_of_25_percent=outside,
        rows={row.stage: [round(ratio, 2) for ratio in row.ratios()] for row in rows},
    )  # fmt: skip
