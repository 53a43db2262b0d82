"""What `rules.py` and `parity.py` run in the peer's own environment: datatrove's filters over documents in JSON lines.

python datatrove_rules.py decide DOCUMENTS > decisions      one JSON line a document: for each filter null or the reason
python datatrove_rules.py time DOCUMENTS                    documents a second through all four filters in a row
"""

from __future__ import annotations

import json
import sys
import time

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.base_filter import get_filter_result


def filters() -> dict:
    """The four, in the order and with the settings FineWeb was made with."""
    return {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4_fineweb": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb_code": FineWebQualityFilter(),
    }


def decide(texts: list[str]) -> None:
    """Each filter by itself on every text."""
    chosen = {**filters(), "c4_paper": C4QualityFilter(min_num_sentences=3, min_words_per_line=5)}
    for text in texts:
        found = {}
        for name, one in chosen.items():
            try:
                kept, reason = get_filter_result(one.filter(Document(text=text, id="")))
            except (ZeroDivisionError, ValueError) as error:  # an empty text
                kept, reason = False, type(error).__name__
            found[name] = None if kept else reason
        print(json.dumps(found))


def measure(texts: list[str]) -> None:
    """All filters in a row, as a pipeline runs them."""
    chain = list(filters().values())
    chain[1].filter(Document(text="Loads what is loaded late. " * 20, id=""))
    began = time.perf_counter()
    documents = iter([Document(text=text, id=str(number)) for number, text in enumerate(texts)])
    for one in chain:
        documents = one.run(documents)
    kept = sum(1 for _ in documents)
    print(json.dumps({"figure": len(texts) / (time.perf_counter() - began), "kept": kept}))


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    {"decide": decide, "time": measure}[sys.argv[1]](rows)
