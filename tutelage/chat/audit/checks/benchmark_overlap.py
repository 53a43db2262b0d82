"""Rows that contain the text of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tutelage.chat.audit.check import AuditedFile, Check, Hit
from tutelage.chat.audit.scan_result import EXAMPLES, SUMMARY, ExampleRow

# The share of a benchmark text's 13-token n-grams that a conversation must contain.
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
