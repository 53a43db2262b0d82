"""Rows that contain the text of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tutelage.chat.audit.check import AuditedFile, Check, Hit
from tutelage.chat.audit.scan_result import EXAMPLES, SUMMARY, ExampleRow

BENCHMARK_WIDTH = 13  # words per n-gram (GPT-3, arXiv 2005.14165, appendix C)
# The share of a benchmark text's words that n-grams of a conversation must cover (Tulu 3, arXiv 2411.15124, 3.2).
MIN_OVERLAP = 0.5


def find(file: AuditedFile) -> Iterator[Hit]:
    """Conversations with at least MIN_OVERLAP of a benchmark text."""
    rows = np.flatnonzero(file.scan.features["overlap"] >= MIN_OVERLAP)
    examples = []
    for row in rows[:EXAMPLES].tolist():
        features = file.scan.features[row]
        place = file.benchmark_places[features["overlap_text"]]
        examples.append(ExampleRow(row, text=f"{features['overlap']:.0%} of {place}: {SUMMARY}"))
    yield Hit(rows, examples)


BENCHMARK_OVERLAP = Check(
    "overlap",
    "error",
    "contains text of a benchmark",
    "Remove them, or do not report that benchmark: its score would be memory.",
    find,
    auto_fixable=True,
)
