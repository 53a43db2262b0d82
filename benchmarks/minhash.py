"""Documents per second to MinHash signatures (word 5-grams, 14 buckets of 8 hashes), one process each: ours and
datatrove's, over the same real documents of 200 to 2,000 words; both fold case, digits, punctuation and accents.

A first JSON line gives the seconds and the peak memory to cluster a million signatures (100,000 with --quick); there is
no peer for it, so it is compared with our target: 10 seconds per million. The last line compares with datatrove.
"""

from __future__ import annotations

import json
import resource
import time

import numpy as np
from common import Measurement, argument_parser, measure_in_turn, print_comparison, print_result
from peers.documents import documents
from peers.environment import run_on_documents

from tutelage.corpus.dedup.near import near_clusters
from tutelage.text.characters import FOLDED
from tutelage.text.minhash import bucket_keys
from tutelage.text.words import hash_words

WIDTH, BUCKETS, ROWS = 5, 14, 8
SHORTEST, LONGEST, BATCH = 200, 2000, 256
SIGNATURES, QUICK_SIGNATURES, TARGET_SECONDS = 1_000_000, 100_000, 10.0
COPIED = 10  # one signature in ten shares a bucket with another
REPEATS = 20  # one pass is too short to be timed


def texts() -> list[str]:
    """The documents, the same in every process."""
    return [text for text in documents() if SHORTEST <= len(text.split()) <= LONGEST]


def measure_ours(_quick: bool) -> Measurement:
    """All documents in batches, after one that loads the compiled kernels."""
    rows = texts()
    bucket_keys(hash_words(rows[:1], FOLDED), WIDTH, BUCKETS, ROWS)
    start = time.perf_counter()
    for _ in range(REPEATS):
        for first in range(0, len(rows), BATCH):
            bucket_keys(hash_words(rows[first : first + BATCH], FOLDED), WIDTH, BUCKETS, ROWS)
    seconds = time.perf_counter() - start
    words = sum(len(row.split()) for row in rows) / len(rows)
    return {"value": REPEATS * len(rows) / seconds, "documents": len(rows), "words": words}


def measure_datatrove(_quick: bool) -> Measurement:
    """The same documents through datatrove's own functions, one by one as in its step."""
    return json.loads(run_on_documents("datatrove_minhash.py", texts=texts())[-1])


def measure_clusters(quick: bool) -> Measurement:
    """Seconds and peak memory to cluster signatures of which a tenth shares a bucket with another."""
    count = QUICK_SIGNATURES if quick else SIGNATURES
    rng = np.random.default_rng(0)
    buckets = []
    for _ in range(BUCKETS):
        keys = rng.integers(1, 1 << 63, count, np.uint64)
        keys[rng.integers(0, count, count // COPIED)] = keys[rng.integers(0, count)]
        copies = rng.integers(0, count, (2, count // COPIED))
        keys[copies[0]] = keys[copies[1]]
        buckets.append([keys])
    start = time.perf_counter()
    near_clusters(buckets, 1 << 30)
    seconds = time.perf_counter() - start
    return {
        "value": count / seconds,
        "signatures": count,
        "seconds": seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    roles = {"ours": measure_ours, "datatrove": measure_datatrove, "clusters": measure_clusters}
    arguments = argument_parser(rounds=3, quick_rounds=2).parse_args()
    measured = measure_in_turn(roles, arguments, unit="per second")
    clusters = measured.pop("clusters")
    first = measured["ours"][0]
    print(f"{first['documents']} documents with a mean of {first['words']:.0f} words")
    count = clusters[0]["signatures"]
    print_result(
        "minhash_clusters",
        float(np.median([measurement["seconds"] for measurement in clusters])),
        TARGET_SECONDS * count / SIGNATURES,
        f"seconds for {count:,} signatures",
        quick=arguments.quick,
        lower_is_better=True,
        against="our target",
        peak_gib=round(max(measurement["peak_gib"] for measurement in clusters), 2),
    )
    print_comparison(measured, arguments, name="minhash", unit="documents/s", main_peer="datatrove")
