"""Words and lines of a batch are split once."""

from __future__ import annotations

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.columns import lines_of, words_of
from tutelage.records import Document


def test_a_batch_is_split_once_and_follows_its_documents() -> None:
    batch = DocumentBatch([Document(text) for text in ("one two", "three", "a b c\nd")])
    assert words_of(batch, "spaces") is words_of(batch, "spaces")
    assert lines_of(batch).counts.tolist() == [1, 1, 2]
    batch.drop([1], "gone")
    assert words_of(batch, "spaces").counts.tolist() == [2, 4]
    assert lines_of(batch).counts.tolist() == [1, 2]
    batch.rewrite([None, "x"])
    assert words_of(batch, "spaces").counts.tolist() == [2, 1]
