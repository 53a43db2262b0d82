"""Shared by all benchmarks: arguments, rounds of ours and the peers in turn, and the final JSON line.

A benchmark has one measure function per role (ours, each peer). Run without `--role` it starts itself once per role and
round, in the order A B C A B C ..., each in its own process, so that other load on the machine hits all roles alike.
The medians over the rounds are compared.

`--quick` takes less data or fewer rounds, and ends within two minutes (2 cores, nothing else running; packages
installed). Its figures are real measurements, only noisier; the JSON line then has "quick": true.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

THREADS = 2
CHECKOUT = Path(__file__).parents[1]
PEER_PACKAGES = {"transformers", "trl", "peft", "accelerate", "datasets"}  # of the extra [peers]; others: [corpus]

# The result of one process: "value" is compared; the parent process checks or prints the rest.
Measurement = dict[str, Any]


def argument_parser(rounds: int | None = None, quick_rounds: int = 1) -> argparse.ArgumentParser:
    """A parser of `--quick` and, where a default number of rounds is given, of `--rounds`; its help is the docstring
    of the benchmark."""
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="less data or fewer rounds: at most 2 minutes, noisier figures"
    )
    if rounds is not None:
        parser.add_argument(
            "--rounds", type=int, help=f"rounds of every role (default {rounds}, with --quick {quick_rounds})"
        )
        parser.add_argument("--role", help="measure only this role, once, in this process")
        parser.set_defaults(default_rounds=rounds, quick_rounds=quick_rounds)
    return parser


def data_folder() -> Path:
    """The folder of real data: $TUTELAGE_DATA, or shared/data beside the checkout; it need not exist."""
    return Path(os.environ.get("TUTELAGE_DATA") or CHECKOUT.parent / "shared" / "data")


def measure_in_turn(
    measures: Mapping[str, Callable[[bool], Measurement]],
    arguments: argparse.Namespace,
    *,
    unit: str,
    child_options: Sequence[str] = (),
) -> dict[str, list[Measurement]]:
    """Measure every role in every round, each in a child process that gets our command line and `child_options`.

    Each measure function takes whether the run is a quick one. With `--role` (in the child): measure this role, print
    the measurement and exit.
    """
    if arguments.role:
        if arguments.role not in measures:
            sys.exit(f"there is no role {arguments.role!r}; choose one of: {', '.join(measures)}")
        print(json.dumps(_measure(measures[arguments.role], arguments.quick)))
        sys.exit()
    measured: dict[str, list[Measurement]] = {role: [] for role in measures}
    rounds = arguments.rounds or (arguments.quick_rounds if arguments.quick else arguments.default_rounds)
    for round_number in range(1, rounds + 1):
        for role in measures:
            measurement = _measure_in_child(role, child_options)
            measured[role].append(measurement)
            print(f"round {round_number}  {role:<24} {measurement['value']:>9,.1f} {unit}", flush=True)
    return measured


def _measure(measure: Callable[[bool], Measurement], quick: bool) -> Measurement:
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    with exit_if_package_missing():
        return measure(quick)


@contextmanager
def exit_if_package_missing() -> Iterator[None]:
    """Turns a failed import into one sentence that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = "peers" if error.name in PEER_PACKAGES else "corpus"
        sys.exit(f"{error.name} is not installed; install the packages of this benchmark: pip install -e '.[{extra}]'")


def _measure_in_child(role: str, child_options: Sequence[str]) -> Measurement:
    command = [sys.executable, *sys.argv, *child_options, "--role", role]
    silent = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    threads = {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}
    child = subprocess.run(command, env={**os.environ, **silent, **threads}, capture_output=True, text=True)
    if child.returncode:
        sys.exit(f"role {role} failed:\n{child.stderr}")
    return json.loads(child.stdout.splitlines()[-1])


def print_comparison(
    measured: Mapping[str, list[Measurement]], arguments: argparse.Namespace, *, name: str, unit: str, main_peer: str
) -> None:
    """Print a JSON line per peer from the medians over the rounds, the main peer last. The first role is ours, and
    higher values are better."""
    values = {role: [measurement["value"] for measurement in rounds] for role, rounds in measured.items()}
    ours, *peers = values
    for peer in sorted(peers, key=lambda role: role == main_peer):
        print_result(
            name,
            statistics.median(values[ours]),
            statistics.median(values[peer]),
            unit,
            quick=arguments.quick,
            against=peer,
            rounds={role: [round(value, 2) for value in values[role]] for role in (ours, peer)},
        )


def print_result(
    name: str, ours: float, peer: float, unit: str, *, quick: bool, lower_is_better: bool = False, **more: Any
) -> None:
    """Print the JSON line that a benchmark ends with; ratio > 1 means that we are better."""
    ratio = peer / ours if lower_is_better else ours / peer
    line = {"name": name, "ours": round(ours, 2), "peer": round(peer, 2), "ratio": round(ratio, 3), "unit": unit}
    print(json.dumps({**line, **({"quick": True} if quick else {}), **more}), flush=True)
