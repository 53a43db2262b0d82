"""Documents a second to MinHash signatures (word 5-grams, 14 buckets of 8 hashes), one process each: ours against
datatrove's, over the same real documents of 200 to 2,000 words; both fold case, digits, punctuation and accents.

A second line says how long it takes to find the clusters among a million signatures, and in how much memory; there the
peer's figure is what is asked of us: 10 seconds.
"""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from common import Measured, measure_in_turn, print_lines
from peers.documents import documents
from peers.environment import datatrove

from tutelage.corpus.dedup.near import bucket_keys, near_clusters

WIDTH, BUCKETS, ROWS = 5, 14, 8
SHORTEST, LONGEST, BATCH = 200, 2000, 256
SIGNATURES, COPIES, ASKED_SECONDS = 1_000_000, 100_000, 10.0
PEER = Path(__file__).parent / "peers" / "datatrove_minhash.py"


def texts(quick: bool) -> list[str]:
    """The documents, the same in every process."""
    chosen = [text for text in documents() if SHORTEST <= len(text.split()) <= LONGEST]
    return chosen[:50] if quick else chosen


def measure_ours(quick: bool) -> Measured:
    """All documents in batches, after one that loads what is compiled."""
    rows = texts(quick)
    bucket_keys(rows[:1], WIDTH, BUCKETS, ROWS)
    rounds = 1 if quick else 20  # so that it lasts
    began = time.perf_counter()
    for _ in range(rounds):
        for start in range(0, len(rows), BATCH):
            bucket_keys(rows[start : start + BATCH], WIDTH, BUCKETS, ROWS)
    words = sum(len(row.split()) for row in rows) / len(rows)
    return {"figure": rounds * len(rows) / (time.perf_counter() - began), "documents": len(rows), "words": words}


def measure_datatrove(quick: bool) -> Measured:
    """The same documents through datatrove's own functions, one by one, as its step does it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.jsonl"
        path.write_text("".join(json.dumps(text) + "\n" for text in texts(quick)), encoding="utf-8")
        done = subprocess.run([datatrove(), str(PEER), str(path)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_clusters(quick: bool) -> Measured:
    """Clusters of a million signatures of which a tenth shares a bucket with another: seconds, and peak memory."""
    count = SIGNATURES // 100 if quick else SIGNATURES
    rng = np.random.default_rng(0)
    buckets = []
    for _ in range(BUCKETS):
        keys = rng.integers(1, 1 << 63, count, np.uint64)
        keys[rng.integers(0, count, COPIES * count // SIGNATURES)] = keys[rng.integers(0, count)]
        copies = rng.integers(0, count, (2, COPIES * count // SIGNATURES))
        keys[copies[0]] = keys[copies[1]]
        buckets.append([keys])
    began = time.perf_counter()
    near_clusters(buckets, 1 << 30)
    seconds = time.perf_counter() - began
    return {
        "figure": 1 / seconds,
        "seconds": seconds,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    roles = {"ours": measure_ours, "datatrove": measure_datatrove, "clusters": measure_clusters}
    measured = measure_in_turn(roles, rounds=3, unit="a second")
    clusters = measured.pop("clusters")
    seconds = float(np.median([one["seconds"] for one in clusters]))
    peak = max(one["peak"] for one in clusters)
    one = measured["ours"][0]
    print(f"{one['documents']} documents of {one['words']:.0f} words in the mean")
    line = {
        "name": "minhash_clusters",
        "ours": round(seconds, 2),
        "peer": ASKED_SECONDS,
        "ratio": round(ASKED_SECONDS / seconds, 3),
        "unit": "seconds for 1,000,000 signatures",
        "peak_gib": round(peak, 2),
    }
    print(json.dumps(line))
    print_lines(measured, name="minhash", unit="documents/s", binding="datatrove")
