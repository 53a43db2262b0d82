"""What all benchmarks share: us and the peers in turn, each in a process of its own, and the lines they end with.

A benchmark is one file with a `measure` function for every role. Run without a role it calls itself once a role and
round, in the order A B C A B C ..., so that whatever else the machine does falls on all of them, and takes medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

THREADS = 2

# What one process measured: "figure" is compared, anything else is for the parent to check.
Measured = dict[str, Any]


def measure_in_turn(
    measures: Mapping[str, Callable[[bool], Measured]], *, rounds: int, unit: str
) -> dict[str, list[Measured]]:
    """Measure every role (each function takes whether the run is a quick one) in every round. In a child process:
    measure one role, print it and exit."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: one short round, no figures to quote")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds of every role (default {rounds})")
    parser.add_argument("--role", choices=list(measures), help="measure only this one, once, in this process")
    asked = parser.parse_args()
    if asked.role:
        print(json.dumps(_measure(measures[asked.role], asked.quick)))
        sys.exit()
    measured: dict[str, list[Measured]] = {role: [] for role in measures}
    for number in range(1 if asked.quick else asked.rounds):
        for role in measures:
            measured[role].append(_in_own_process(role, asked.quick))
            print(f"round {number + 1}  {role:<24} {measured[role][-1]['figure']:>9,.1f} {unit}", flush=True)
    return measured


def _measure(measure: Callable[[bool], Measured], quick: bool) -> Measured:
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    try:
        return measure(quick)
    except ModuleNotFoundError as error:
        if error.name == "tutelage":
            sys.exit("tutelage is not installed in this Python; run `make setup` and use .venv/bin/python")
        sys.exit(f"{error.name} is not installed; install what the benchmarks compare with: pip install -e '.[peers]'")


def _in_own_process(role: str, quick: bool) -> Measured:
    command = [sys.executable, sys.argv[0], "--role", role, *(["--quick"] if quick else [])]
    silent = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    threads = {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}
    done = subprocess.run(command, env={**os.environ, **silent, **threads}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the role {role} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def print_lines(measured: Mapping[str, list[Measured]], *, name: str, unit: str, binding: str) -> None:
    """Print a JSON line for each peer, the binding one last; the first role is ours."""
    figures = {role: [one["figure"] for one in all_rounds] for role, all_rounds in measured.items()}
    medians = {role: statistics.median(rounds) for role, rounds in figures.items()}
    mine, *peers = figures
    for peer in sorted(peers, key=lambda role: role == binding):
        line = {
            "name": name,
            "ours": round(medians[mine], 2),
            "peer": round(medians[peer], 2),
            "ratio": round(medians[mine] / medians[peer], 3),
            "unit": unit,
            "against": peer,
            "rounds": {role: [round(figure, 2) for figure in figures[role]] for role in (mine, peer)},
        }
        print(json.dumps(line), flush=True)
