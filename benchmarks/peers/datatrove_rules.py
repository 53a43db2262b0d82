"""Run by `rules.py` and `parity.py` in datatrove's environment: its filters over a JSONL file of documents.

python datatrove_rules.py decide DOCUMENTS > decisions      one JSON line per document: null or a reason per filter
python datatrove_rules.py time DOCUMENTS                    documents per second through all four filters in a row
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
    """The four filters, in the order and with the settings of FineWeb."""
    return {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4_fineweb": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb_code": FineWebQualityFilter(),
    }


def decide(texts: list[str]) -> None:
    """Run each filter by itself on every text."""
    all_filters = {**filters(), "c4_paper": C4QualityFilter(min_num_sentences=3, min_words_per_line=5)}
    for text in texts:
        reasons = {}
        for name, datatrove_filter in all_filters.items():
            try:
                kept, reason = get_filter_result(datatrove_filter.filter(Document(text=text, id="")))
            except (ZeroDivisionError, ValueError) as error:  # an empty text
                kept, reason = False, type(error).__name__
            reasons[name] = None if kept else reason
        print(json.dumps(reasons))


def measure(texts: list[str]) -> None:
    """Time all filters in a row, as a pipeline runs them."""
    chain = list(filters().values())
    chain[1].filter(Document(text="Warm-up text. " * 20, id=""))
    start = time.perf_counter()
    documents = iter([Document(text=text, id=str(number)) for number, text in enumerate(texts)])
    for datatrove_filter in chain:
        documents = datatrove_filter.run(documents)
    kept = sum(1 for _ in documents)
    print(json.dumps({"value": len(texts) / (time.perf_counter() - start), "kept": kept}))


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    {"decide": decide, "time": measure}[sys.argv[1]](rows)
