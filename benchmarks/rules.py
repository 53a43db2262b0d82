"""Documents a second through four rule sets in a row, one process each: ours against datatrove's filters.

Gopher repetition, Gopher quality, C4 and FineWeb's own rules with the settings FineWeb was made with, over the same
real documents of 200 to 2,000 words. datatrove runs in an environment of its own, which is made on the first run.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

from common import Measured, measure_in_turn, print_lines
from peers.documents import documents
from peers.environment import datatrove

from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.rules.c4 import C4FineWebSettings, c4
from tutelage.corpus.rules.fineweb import FineWebCodeSettings, fineweb
from tutelage.corpus.rules.gopher import (
    GopherQualitySettings,
    GopherRepetitionSettings,
    gopher_quality,
    gopher_repetition,
)
from tutelage.records import Document

SHORTEST, LONGEST, BATCH = 200, 2000, 256
PEER = Path(__file__).parent / "peers" / "datatrove_rules.py"


def texts(quick: bool) -> list[str]:
    """The documents, the same in every process."""
    chosen = [text for text in documents() if SHORTEST <= len(text.split()) <= LONGEST]
    return chosen[:50] if quick else chosen


def steps() -> list[Step]:
    """The four rule sets as datatrove counts."""
    return [
        gopher_repetition(GopherRepetitionSettings(words="tokens", counting="exclude_first_copy", line_kind="raw")),
        gopher_quality(GopherQualitySettings(words="tokens")),
        c4(C4FineWebSettings()),
        fineweb(FineWebCodeSettings()),
    ]


def curate(chain: list[Step], rows: list[str]) -> int:
    """How many documents the steps keep."""
    kept = 0
    for start in range(0, len(rows), BATCH):
        batch = DocumentBatch([Document(text, id=str(start)) for text in rows[start : start + BATCH]])
        for number, step in enumerate(chain):
            batch.enter(str(number))
            step(batch)
        kept += len(batch)
    return kept


def measure_ours(quick: bool) -> Measured:
    """All documents in batches, after one run that loads what is compiled."""
    rows, chain = texts(quick), steps()
    curate(chain, rows)
    began = time.perf_counter()
    kept = curate(chain, rows)
    words = sum(len(row.split()) for row in rows) / len(rows)
    return {"figure": len(rows) / (time.perf_counter() - began), "kept": kept, "documents": len(rows), "words": words}


def measure_datatrove(quick: bool) -> Measured:
    """The same documents through datatrove's filters, one feeding the next."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.jsonl"
        path.write_text("".join(json.dumps(text) + "\n" for text in texts(quick)), encoding="utf-8")
        done = subprocess.run([datatrove(), str(PEER), "time", str(path)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    measured = measure_in_turn({"ours": measure_ours, "datatrove": measure_datatrove}, rounds=3, unit="documents/s")
    one = measured["ours"][0]
    print(f"{one['documents']} documents of {one['words']:.0f} words in the mean; kept: "
          f"{one['kept']} by ours, {measured['datatrove'][0]['kept']} by datatrove")  # fmt: skip
    print_lines(measured, name="rules", unit="documents/s", binding="datatrove")
