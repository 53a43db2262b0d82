"""Peak memory of a curation by how much it reads: 10,000, 100,000 and 1,000,000 made-up documents through Gopher's
recipe (rules, exact and near duplicates), by two worker processes. Memory that is flat does not grow with the data.

The documents are written as they are made, to as many files each time, so that a larger corpus has larger shards; one
in twenty stands there twice, and one in twenty nearly so.

    python benchmarks/memory.py [--counts 10000 100000 1000000] [--recipe gopher]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tutelage.corpus.probe import probe_documents

COUNTS = (10_000, 100_000, 1_000_000)
FILES, WORKERS = 8, 2
FRAMES = (
    "the {} of the {} was {} and {} with {}",
    "they {} that a {} had {} to the {}",
    "in {} the {} is {} for {} who {}",
    "on day {number} a {} {} from {} to {}",
)


def vocabulary() -> list[str]:
    """The longer words of the texts that come along."""
    words = {word for document in probe_documents() for word in document.text.split()}
    return sorted(word for word in words if word.isalpha() and word.islower() and len(word) > 3)


def sentence(draw: random.Random, words: list[str]) -> str:
    """English in its small words alone."""
    frame = draw.choice(FRAMES)
    return frame.format(*draw.choices(words, k=5), number=draw.randrange(100_000)).capitalize() + "."


def texts(count: int) -> Iterator[str]:
    """So many texts of about 80 words, always the same; of the last hundred some come again, as they were or nearly."""
    draw, words, last = random.Random(0), vocabulary(), [""] * 100
    for number in range(count):
        sentences = [sentence(draw, words) for _ in range(8)]
        fate = draw.random()
        if number >= len(last) and fate < 0.1:
            text = draw.choice(last)
            if fate < 0.05:
                text += " " + sentence(draw, words)
        else:
            text = " ".join(sentences[:4]) + "\n" + " ".join(sentences[4:])
        last[number % len(last)] = text
        yield text


def write(folder: Path, count: int) -> int:
    """The texts in files of JSON lines; gives their size in bytes."""
    files = [(folder / f"{number}.jsonl").open("w") for number in range(FILES)]
    size = 0
    for number, text in enumerate(texts(count)):
        size += files[number * FILES // count].write(json.dumps({"id": str(number), "text": text}) + "\n")
    for file in files:
        file.close()
    return size


def curate(recipe: str, folder: str) -> None:
    """Runs the recipe in this process; prints peak memory, documents that were kept and seconds."""
    from tutelage.config import recipes_folder
    from tutelage.corpus.curation import load_curation
    from tutelage.corpus.pipeline import curate as run

    told = [f"input={folder}/in/*.jsonl", f"workers={WORKERS}", "shard_mib=0.000001", "drops=10", "memory_gib=0.02"]
    peaks, over = {"parent": 0, "worker": 0}, threading.Event()
    watch = threading.Thread(target=watch_peaks, args=(peaks, over))
    watch.start()
    began = time.perf_counter()
    result = run(load_curation(recipes_folder() / f"{recipe}.toml", told), Path(folder, "out"))
    seconds = time.perf_counter() - began
    over.set()
    watch.join()
    kept = result["steps"][-1]["output"]["documents"]
    print(json.dumps({**peaks, "kept": kept, "seconds": round(seconds, 1)}))


def watch_peaks(peaks: dict[str, int], over: threading.Event) -> None:
    """Keeps the peak memory of this process and of the largest that it has started, in MiB. Asked of the system again
    and again: what it tells of processes that have ended counts what their parent held when it started them."""
    while not over.wait(0.2):
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
                who = {os.getpid(): "parent"}.get(int(lines["Pid"])) or {os.getpid(): "worker"}.get(int(lines["PPid"]))
                if who:
                    peaks[who] = max(peaks[who], int(lines["VmHWM"].split()[0]) // 1024)
            except (OSError, KeyError):
                continue  # it has ended


def measure(recipe: str, count: int) -> dict[str, float]:
    """A curation of so many documents, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").mkdir()
        size = write(Path(folder, "in"), count)
        command = [sys.executable, __file__, "--recipe", recipe, "--curate", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return {"documents": count, "mib": round(size / 2**20), **json.loads(done.stdout.splitlines()[-1])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--quick", action="store_true", help="a smoke run: few documents, no figures to quote")
    parser.add_argument("--recipe", default="gopher", help="a recipe that needs no model (default gopher)")
    parser.add_argument("--curate", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.curate:
        curate(asked.recipe, asked.curate)
        sys.exit()
    rows = []
    for count in [200, 2000] if asked.quick else asked.counts:
        rows.append(measure(asked.recipe, count))
        one = rows[-1]
        print(f"{one['documents']:>9,} documents, {one['mib']:>4} MiB: parent {one['parent']} MiB, largest worker "
              f"{one['worker']} MiB; {one['kept']:,} kept, {one['seconds']} s", flush=True)  # fmt: skip
    least, most = (max(row["parent"], row["worker"]) for row in (rows[0], rows[-1]))
    line = {"name": "memory", "ours": most, "peer": least, "ratio": round(least / most, 3), "unit": "MiB at the peak"}
    against = f"itself with {rows[0]['documents']:,} documents"
    print(json.dumps({**line, "documents": rows[-1]["documents"], "against": against, "rows": rows}))
