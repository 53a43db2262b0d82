"""Exact duplicates, near duplicates, and rows that are also in the held-out file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tutelage.chat.audit.check import AuditedFile, Check, Hit
from tutelage.chat.audit.scan_result import EXAMPLES, ExampleRow


def _repeated(pairs: tuple[np.ndarray, np.ndarray]) -> Iterator[Hit]:
    rows, firsts = pairs
    first_pairs = zip(rows[:EXAMPLES].tolist(), firsts[:EXAMPLES].tolist(), strict=True)
    yield Hit(rows, [ExampleRow(row, other=first) for row, first in first_pairs])


def _leaks(file: AuditedFile) -> Iterator[Hit]:
    exact, near = file.duplicates.exact_leaks[0], file.duplicates.near_leaks[0]
    yield Hit(np.union1d(exact, near), detail=f"{len(exact):,} exact, {len(near):,} near")


LEAK = Check(
    "leak",
    "error",
    "also in the held-out file",
    "Remove them from one of the two files: a score on trained rows says nothing.",
    _leaks,
    auto_fixable=True,
)
DUPLICATE = Check(
    "duplicate",
    "warning",
    "exact duplicates of an earlier row",
    "Keep one of each: repeated rows are memorised.",
    lambda file: _repeated(file.duplicates.exact),
    auto_fixable=True,
)
NEAR_DUPLICATE = Check(
    "near duplicate",
    "warning",
    "near duplicates of an earlier row",
    "Keep one of each: small changes of wording teach little and weigh much.",
    lambda file: _repeated(file.duplicates.near),
    auto_fixable=True,
)
