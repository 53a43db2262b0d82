"""What `minhash.py` runs in the peer's own environment: datatrove's MinHash signatures of documents in JSON lines.

python datatrove_minhash.py DOCUMENTS      documents a second
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.utils.hashing import HashConfig


def measure(texts: list[str]) -> None:
    """Shingles and signatures, after one that loads what is loaded late."""
    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(folder, MinhashConfig(hash_config=HashConfig(precision=64)))
        step.get_signature(step.get_shingles("Loads what is loaded late. " * 20))
        began = time.perf_counter()
        for text in texts:
            shingles = step.get_shingles(text)
            if shingles.size:
                step.get_signature(shingles)
        print(json.dumps({"figure": len(texts) / (time.perf_counter() - began)}))


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as lines:
        measure([json.loads(line) for line in lines])
