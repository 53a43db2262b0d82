"""Documents per second through four rule sets in a row, one process each: our rules and datatrove's filters.

Gopher repetition, Gopher quality, C4 and FineWeb's own rules, with the settings of FineWeb, over the same real
documents of 200 to 2,000 words. datatrove runs in its own virtual environment, which the first run creates.
"""

from __future__ import annotations

import json
import time

from common import Measurement, argument_parser, measure_in_turn, print_comparison
from peers.documents import documents
from peers.environment import run_on_documents

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
REPEATS = 10  # one pass is too short to be timed


def texts() -> list[str]:
    """The documents, the same in every process."""
    return [text for text in documents() if SHORTEST <= len(text.split()) <= LONGEST]


def steps() -> list[Step]:
    """The four rule sets, set to count as datatrove does."""
    return [
        gopher_repetition(GopherRepetitionSettings(words="tokens", counting="exclude_first_copy", line_kind="raw")),
        gopher_quality(GopherQualitySettings(words="tokens")),
        c4(C4FineWebSettings()),
        fineweb(FineWebCodeSettings()),
    ]


def curate(chain: list[Step], rows: list[str]) -> int:
    """Run the steps; the number of documents kept."""
    kept = 0
    for start in range(0, len(rows), BATCH):
        batch = DocumentBatch([Document(text, id=str(start)) for text in rows[start : start + BATCH]])
        for number, step in enumerate(chain):
            batch.enter(str(number))
            step(batch)
        kept += len(batch)
    return kept


def measure_ours(_quick: bool) -> Measurement:
    """All documents in batches, after one run that loads the compiled kernels."""
    rows, chain = texts(), steps()
    curate(chain, rows)
    start = time.perf_counter()
    for _ in range(REPEATS):
        kept = curate(chain, rows)
    seconds = time.perf_counter() - start
    words = sum(len(row.split()) for row in rows) / len(rows)
    return {"value": REPEATS * len(rows) / seconds, "kept": kept, "documents": len(rows), "words": words}


def measure_datatrove(_quick: bool) -> Measurement:
    """The same documents through datatrove's filters, one feeding the next."""
    return json.loads(run_on_documents("datatrove_rules.py", "time", texts=texts())[-1])


if __name__ == "__main__":
    roles = {"ours": measure_ours, "datatrove": measure_datatrove}
    arguments = argument_parser(rounds=3, quick_rounds=2).parse_args()
    measured = measure_in_turn(roles, arguments, unit="documents/s")
    ours, peer = (rounds[0] for rounds in measured.values())
    print(f"{ours['documents']} documents with a mean of {ours['words']:.0f} words; kept: "
          f"{ours['kept']} by ours, {peer['kept']} by datatrove")  # fmt: skip
    print_comparison(measured, arguments, name="rules", unit="documents/s", main_peer="datatrove")
