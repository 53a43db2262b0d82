"""Documents too short or too long."""

from __future__ import annotations

import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.rules.length import LengthSettings, length
from tutelage.records import Document


def test_length_is_counted_in_characters() -> None:
    batch = DocumentBatch([Document("é" * count) for count in (2, 3, 5, 6)])
    length(LengthSettings(shortest=3, longest=5))(batch)
    assert [len(text) for text in batch.texts] == [3, 5]
    assert [(one.reason, one.detail) for one in batch.dropped] == [("too short", "2"), ("too long", "6")]


def test_a_step_without_a_limit_is_refused() -> None:
    with pytest.raises(SettingsError, match="shortest or longest"):
        LengthSettings()
