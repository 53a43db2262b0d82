"""Items per second of multiple choice by likelihood: ours, and lm-evaluation-harness in an environment of its own, on
the same rows and prompts, without caches, in float32 and with the same threads.

Sets: ARC (easy), PIQA, WinoGrande and MMLU with its first examples. Name the harness's Python in TUTELAGE_LM_EVAL and
the model's folder with --model. The harness runs with each of several batch sizes on a part first, and then with the
best; with --quick with one. Loading the model is not counted. The run fails if the log-probabilities differ by more
than 1e-3.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from common import CHECKOUT, THREADS, Measurement, argument_parser, data_folder, measure_in_turn, print_comparison

NAMES = ("arc_easy", "piqa", "winogrande", "mmlu")
ITEMS, QUICK_ITEMS = 60, 6
BATCHES, PILOT = (1, 4, 16, 32), 8  # batch sizes that are tried, on so many items of each set
QUICK_BATCH = 4
TOLERANCE = 1e-3
PEER = CHECKOUT / "benchmarks" / "peers" / "lm_eval_tasks.py"


def prompts(limit: int) -> list[dict[str, Any]]:
    """The rows of each set for the harness: a stratified part, with our prompts for MMLU."""
    from peers.lm_eval_tasks import job

    from tutelage.evaluate.benchmarks import BENCHMARKS
    from tutelage.evaluate.benchmarks.data_folder import benchmark_files
    from tutelage.evaluate.benchmarks.measured import AskSettings
    from tutelage.evaluate.benchmarks.run_choices import questions_of, read_choice_set

    jobs = []
    for name in NAMES:
        items = read_choice_set(BENCHMARKS[name], benchmark_files(data_folder(), BENCHMARKS[name]))
        asked = questions_of(BENCHMARKS[name], items, items, AskSettings(limit=limit))
        jobs.append(job(name, [one.item for one in asked], [one.contexts[0] for one in asked]))
    return jobs


def ours(model: str, quick: bool) -> Measurement:
    """Our own runner, with an empty cache in memory."""
    from tutelage.evaluate.benchmarks import BENCHMARKS
    from tutelage.evaluate.benchmarks.data_folder import benchmark_files
    from tutelage.evaluate.benchmarks.measured import AskSettings
    from tutelage.evaluate.benchmarks.run_choices import run_choices
    from tutelage.evaluate.result_cache import ResultCache
    from tutelage.model.hub import load_model

    checkpoint = load_model(Path(model), "cpu")
    files = {name: benchmark_files(data_folder(), BENCHMARKS[name]) for name in NAMES}
    settings = AskSettings(limit=QUICK_ITEMS if quick else ITEMS)
    began = time.perf_counter()
    found = [run_choices(checkpoint, BENCHMARKS[name], files[name], [], settings, ResultCache()) for name in NAMES]
    seconds = time.perf_counter() - began
    logprobs = [item.logprobs for measured in found for item in measured.items]
    return {"value": len(logprobs) / seconds, "logprobs": logprobs}


def run_harness(model: str, jobs: Sequence[dict[str, Any]], batch: int) -> list[dict[str, Any]]:
    """The lines that the harness prints."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "jobs.json"
        file.write_text(json.dumps(jobs))
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": folder}
        threads = {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}
        command = [os.environ["TUTELAGE_LM_EVAL"], str(PEER), model, str(file), str(batch)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline, **threads})
    if done.returncode:
        sys.exit(f"the harness failed:\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def harness(model: str, quick: bool) -> Measurement:
    """lm-evaluation-harness at its best batch size."""
    jobs = prompts(QUICK_ITEMS if quick else ITEMS)
    best = QUICK_BATCH
    if not quick:
        part = [{**job, "rows": job["rows"][:PILOT]} for job in jobs]
        seconds = {batch: run_harness(model, part, batch)[-1]["seconds"] for batch in BATCHES}
        best = min(seconds, key=lambda batch: seconds[batch])
    *lines, last = run_harness(model, jobs, best)
    order = {name: place for place, name in enumerate(NAMES)}
    lines.sort(key=lambda line: (order[line["name"]], line["number"]))
    return {"value": len(lines) / last["seconds"], "logprobs": [line["logprobs"] for line in lines], "batch": best}


def main() -> None:
    """Run both in turn, compare the scores, and print the JSON line."""
    parser = argument_parser(rounds=3)
    parser.add_argument("--model", help="folder of a published checkpoint")
    arguments = parser.parse_args()
    if not arguments.model or "TUTELAGE_LM_EVAL" not in os.environ:
        sys.exit("give --model DIR, and name a Python with lm-eval in TUTELAGE_LM_EVAL")
    roles = {"ours": partial(ours, arguments.model), "lm-eval": partial(harness, arguments.model)}
    measured = measure_in_turn(roles, arguments, unit="items/s")
    for mine, theirs in zip(measured["ours"], measured["lm-eval"], strict=True):
        pairs = zip(mine["logprobs"], theirs["logprobs"], strict=True)
        worst = max(abs(a - b) for first, second in pairs for a, b in zip(first, second, strict=True))
        if worst > TOLERANCE:
            sys.exit(f"log-probabilities differ by {worst:.2g}")
        print(f"log-probabilities agree to {worst:.1e}; the harness ran with batches of {theirs['batch']}")
    print_comparison(measured, arguments, name="evaluate", unit="items/s", main_peer="lm-eval")


if __name__ == "__main__":
    main()
