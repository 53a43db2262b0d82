"""Checks on figures: the first one broken is the reason, and a limit of None breaks nothing."""

from __future__ import annotations

import numpy as np

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.rules.checks import above, below, drop_broken, shares
from tutelage.records import Document


def test_the_first_check_that_is_broken_is_the_reason() -> None:
    batch = DocumentBatch([Document("", id=str(place)) for place in range(4)])
    figures = np.array([1.0, 2.0, 3.0, np.nan])
    drop_broken(batch, [above("high", figures, 2), below("low", figures, 3), above("off", figures, None)])
    assert [(one.document.id, one.reason, one.detail) for one in batch.dropped] == [
        ("0", "low", "1"),
        ("1", "low", "2"),
        ("2", "high", "3"),
    ]
    assert [document.id for document in batch.documents] == ["3"]


def test_nothing_is_checked_of_an_empty_batch() -> None:
    batch = DocumentBatch([])
    drop_broken(batch, [above("high", np.empty(0), 2)])
    assert batch.dropped == []


def test_shares_of_nothing_are_nothing() -> None:
    assert shares(np.array([1, 0]), np.array([2, 0])).tolist() == [0.5, 0]
