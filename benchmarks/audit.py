"""Conversations a second through `audit_file`, without a model, in one thread: from the file to the report.

The chat sets of the folder of data that have at least a thousand conversations, else conversations of the built-in
world. There is no peer: no tool audits conversations for all of this in one go. Ends with a JSON line; "ours" is the
figure over all conversations of all sets by the clock, "of_processor_time" the same where nothing else runs, and "sets"
has each by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

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
ROUNDS, ENOUGH = 3, 5000  # conversations a second


def world_chats(folder: Path, count: int) -> Path:
    """A file of conversations of the built-in world."""
    rows = islice(World(WorldSettings(people=4000)).conversations("train"), count)
    path = folder / "world.jsonl"
    path.write_text("\n".join(json.dumps(openai_row(row)) for row in rows), encoding="utf-8")
    return path


def measure(path: Path) -> tuple[int, float, float]:
    """The conversations of a file, and the wall-clock and processor seconds of its audit."""
    began, at_work = time.perf_counter(), time.process_time()
    report = audit_file(path)
    return report.conversations, time.perf_counter() - began, time.process_time() - at_work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run: one round over a small file")
    quick = parser.parse_args().quick
    folder = Path(os.environ.get("TUTELAGE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    with tempfile.TemporaryDirectory() as made:
        files = [folder / name for name in SETS if (folder / name).exists()]
        if quick or not files:
            files = [world_chats(Path(made), 500 if quick else 20_000)]
        measure(world_chats(Path(made), 100))  # what is loaded once is not to be measured
        seconds = at_work = 0.0
        total, sets = 0, {}
        for path in files:
            rounds = [measure(path) for _ in range(1 if quick else ROUNDS)]
            count = rounds[0][0]
            taken, worked = (statistics.median(one[place] for one in rounds) for place in (1, 2))
            sets[path.name] = round(count / taken, 1)
            total, seconds, at_work = total + count, seconds + taken, at_work + worked
            print(f"{path.name:<60} {count:>7,} conversations {count / taken:>9,.0f} a second", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 / (1024 if sys.platform == "darwin" else 1)
    line = {
        "name": "audit",
        "ours": round(total / seconds, 1),
        "peer": ENOUGH,
        "ratio": round(total / seconds / ENOUGH, 3),
        "unit": "conversations/s",
        "against": "what was asked for",
        "of_processor_time": round(total / at_work, 1),
        "sets": sets,
        "peak_rss_mib": round(peak),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
