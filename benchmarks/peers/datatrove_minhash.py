"""Run by `minhash.py` in datatrove's environment: MinHash signatures of a JSONL file of documents.

python datatrove_minhash.py DOCUMENTS      documents per second
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.utils.hashing import HashConfig


def measure(texts: list[str]) -> None:
    """Time shingles and signatures, after a warm-up document."""
    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(folder, MinhashConfig(hash_config=HashConfig(precision=64)))
        step.get_signature(step.get_shingles("Warm-up text. " * 20))
        start = time.perf_counter()
        for text in texts:
            shingles = step.get_shingles(text)
            if shingles.size:
                step.get_signature(shingles)
        print(json.dumps({"value": len(texts) / (time.perf_counter() - start)}))


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as lines:
        measure([json.loads(line) for line in lines])
