"""Peak memory of a curation by the size of its input: 10,000, 100,000 and 1,000,000 synthetic documents through the
recipe "gopher" (rules, exact and near duplicates), with two worker processes. Flat memory does not grow with the data.

The number of input files is fixed, so a larger corpus has larger shards. One document in twenty is an exact copy of an
earlier one, and one in twenty a near copy. The peer is the same curation of the smallest input; ratio 1 is flat.
--quick takes 2,000 and 20,000 documents.

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

from common import argument_parser, print_result

from tutelage.corpus.probe import probe_documents

COUNTS, QUICK_COUNTS = (10_000, 100_000, 1_000_000), (2_000, 20_000)
FILES, WORKERS = 8, 2
FRAMES = (
    "the {} of the {} was {} and {} with {}",
    "they {} that a {} had {} to the {}",
    "in {} the {} is {} for {} who {}",
    "on day {number} a {} {} from {} to {}",
)


def vocabulary() -> list[str]:
    """The longer words of the bundled probe documents."""
    words = {word for document in probe_documents() for word in document.text.split()}
    return sorted(word for word in words if word.isalpha() and word.islower() and len(word) > 3)


def sentence(rng: random.Random, words: list[str]) -> str:
    """A frame of English function words with random words filled in."""
    frame = rng.choice(FRAMES)
    return frame.format(*rng.choices(words, k=5), number=rng.randrange(100_000)).capitalize() + "."


def texts(count: int) -> Iterator[str]:
    """`count` texts of about 80 words, the same in every run; some copy one of the last hundred, exactly or nearly."""
    rng, words, recent = random.Random(0), vocabulary(), [""] * 100
    for number in range(count):
        sentences = [sentence(rng, words) for _ in range(8)]
        chance = rng.random()
        if number >= len(recent) and chance < 0.1:
            text = rng.choice(recent)
            if chance < 0.05:
                text += " " + sentence(rng, words)
        else:
            text = " ".join(sentences[:4]) + "\n" + " ".join(sentences[4:])
        recent[number % len(recent)] = text
        yield text


def write(folder: Path, count: int) -> int:
    """Write the texts to JSONL files; their total size in bytes."""
    files = [(folder / f"{number}.jsonl").open("w") for number in range(FILES)]
    size = 0
    for number, text in enumerate(texts(count)):
        size += files[number * FILES // count].write(json.dumps({"id": str(number), "text": text}) + "\n")
    for file in files:
        file.close()
    return size


def curate(recipe: str, folder: str) -> None:
    """Run the recipe in this process; print peak memory, documents kept and seconds as JSON."""
    from tutelage.config import recipes_folder
    from tutelage.corpus.curation import load_curation
    from tutelage.corpus.pipeline import curate as run

    overrides = [
        f"input={folder}/in/*.jsonl",
        f"workers={WORKERS}",
        "shard_mib=0.000001",
        "keep_dropped=10",
        "memory_gib=0.02",
    ]
    peaks, done = {"parent": 0, "worker": 0}, threading.Event()
    monitor = threading.Thread(target=monitor_peaks, args=(peaks, done))
    monitor.start()
    start = time.perf_counter()
    result = run(load_curation(recipes_folder() / f"{recipe}.toml", overrides), Path(folder, "out"))
    seconds = time.perf_counter() - start
    done.set()
    monitor.join()
    kept = result["steps"][-1]["output"]["documents"]
    print(json.dumps({**peaks, "kept": kept, "seconds": round(seconds, 1)}))


def monitor_peaks(peaks: dict[str, int], done: threading.Event) -> None:
    """Record the peak memory of this process and of its largest child, in MiB, until `done` is set.

    Polls /proc, because the maximum that getrusage reports for ended children includes the memory of the parent at the
    fork.
    """
    while not done.wait(0.2):
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
                role = {os.getpid(): "parent"}.get(int(lines["Pid"])) or {os.getpid(): "worker"}.get(int(lines["PPid"]))
                if role:
                    peaks[role] = max(peaks[role], int(lines["VmHWM"].split()[0]) // 1024)
            except (OSError, KeyError):
                continue  # the process has ended


def measure(recipe: str, count: int) -> dict[str, float]:
    """Curate `count` documents in a child process."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").mkdir()
        size = write(Path(folder, "in"), count)
        command = [sys.executable, __file__, "--recipe", recipe, "--curate", folder]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return {"documents": count, "mib": round(size / 2**20), **json.loads(child.stdout.splitlines()[-1])}


if __name__ == "__main__":
    parser = argument_parser()
    parser.add_argument("--counts", type=int, nargs="+", help="numbers of documents")
    parser.add_argument("--recipe", default="gopher", help="a recipe that needs no model (default gopher)")
    parser.add_argument("--curate", help=argparse.SUPPRESS)  # folder; used for the child process
    arguments = parser.parse_args()
    if arguments.curate:
        curate(arguments.recipe, arguments.curate)
        sys.exit()
    rows = []
    for count in arguments.counts or (QUICK_COUNTS if arguments.quick else COUNTS):
        row = measure(arguments.recipe, count)
        rows.append(row)
        print(f"{row['documents']:>9,} documents, {row['mib']:>4} MiB: parent {row['parent']} MiB, largest worker "
              f"{row['worker']} MiB; {row['kept']:,} kept, {row['seconds']} s", flush=True)  # fmt: skip
    smallest, largest = (max(row["parent"], row["worker"]) for row in (rows[0], rows[-1]))
    print_result(
        "memory",
        largest,
        smallest,
        "MiB at the peak",
        quick=arguments.quick,
        lower_is_better=True,
        documents=rows[-1]["documents"],
        against=f"ours with {rows[0]['documents']:,} documents",
        rows=rows,
    )
