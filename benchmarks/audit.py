"""Conversations per second through `audit_file`, without a model, in one thread: from the file to the report.

Reads the chat sets of the data folder that have at least a thousand conversations, else conversations of the built-in
world. No peer runs all of these checks, so the result is compared with our target. In the JSON line "ours" is the
throughput over all sets by wall-clock time, "of_cpu_time" the same by CPU time, and "sets" has each set. --quick
makes one round.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from common import argument_parser, data_folder, print_result

from tutelage.chat.audit import audit_file
from tutelage.chat.audit.fix import openai_row
from tutelage.world import World
from tutelage.world.society import WorldSettings

SETS = (
    "gsm8k/train.jsonl.gz",
    "gpteacher/Roleplay/roleplay-simple-deduped-roleplay-dataset.json.gz",
    "gpteacher/Toolformer/toolformer-dedupe-only-dataset.json.gz",
    "llamafactory_demos/alpaca_zh_demo.json",
    "dolly_hhrlhf_small/dolly_hhrlhf_train_small.jsonl",
    "t0_50k/t0_train_50k_by_template.jsonl.zst",
)
ROUNDS = 3
TARGET = 5000  # conversations per second


def world_chats(folder: Path, count: int) -> Path:
    """Write a file of conversations of the built-in world."""
    rows = islice(World(WorldSettings(people=4000)).conversations("train"), count)
    path = folder / "world.jsonl"
    path.write_text("\n".join(json.dumps(openai_row(row)) for row in rows), encoding="utf-8")
    return path


def measure(path: Path) -> tuple[int, float, float]:
    """Audit a file: its number of conversations, wall-clock seconds, CPU seconds."""
    start, cpu_start = time.perf_counter(), time.process_time()
    report = audit_file(path)
    return report.conversations, time.perf_counter() - start, time.process_time() - cpu_start


def main() -> None:
    parser = argument_parser()
    parser.add_argument("--rounds", type=int, help=f"rounds over every set (default {ROUNDS}, with --quick 1)")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (1 if arguments.quick else ROUNDS)
    with tempfile.TemporaryDirectory() as scratch:
        real_files = [data_folder() / name for name in SETS if (data_folder() / name).exists()]
        files = real_files or [world_chats(Path(scratch), 20_000)]
        measure(world_chats(Path(scratch), 100))  # warm-up
        total, seconds, cpu_seconds = 0, 0.0, 0.0
        throughput_of_set = {}
        for path in files:
            measurements = [measure(path) for _ in range(rounds)]
            count = measurements[0][0]
            wall, cpu = (statistics.median(measurement[i] for measurement in measurements) for i in (1, 2))
            throughput_of_set[path.name] = round(count / wall, 1)
            total, seconds, cpu_seconds = total + count, seconds + wall, cpu_seconds + cpu
            print(f"{path.name:<60} {count:>7,} conversations {count / wall:>9,.0f} per second", flush=True)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 / (1024 if sys.platform == "darwin" else 1)
    print_result(
        "audit",
        total / seconds,
        TARGET,
        "conversations/s",
        quick=arguments.quick,
        against="our target",
        of_cpu_time=round(total / cpu_seconds, 1),
        sets=throughput_of_set,
        peak_rss_mib=round(peak_mib),
    )


if __name__ == "__main__":
    main()
