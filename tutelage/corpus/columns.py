"""Characters, words and lines of a batch as columns, split once and shared by all filters."""

from __future__ import annotations

from tutelage.corpus.batch import DocumentBatch
from tutelage.text.words import Characters, LineMode, Lines, WordKind, Words, encode, split_lines, split_words


def characters_of(batch: DocumentBatch) -> Characters:
    """The characters of a batch, computed once."""
    return batch.shared("characters", encode)


def words_of(batch: DocumentBatch, kind: WordKind) -> Words:
    """The words of a batch, split once."""
    return batch.shared(("words", kind), lambda _: split_words(characters_of(batch), kind))


def lines_of(batch: DocumentBatch, kind: LineMode = "trimmed") -> Lines:
    """The lines of a batch, split once."""
    return batch.shared(("lines", kind), lambda _: split_lines(characters_of(batch), kind))
