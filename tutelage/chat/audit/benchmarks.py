"""The texts of evaluation sets, whatever their fields are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tutelage.io.batches import batches
from tutelage.io.data_files import all_files
from tutelage.io.row import BrokenRow, texts_in
from tutelage.io.rows import rows

_BATCH = 1024
_MIN_CHARS = 24  # shorter fields are labels, names and choices


def benchmark_texts(paths: Sequence[Path]) -> tuple[Iterator[list[str]], list[str]]:
    """Every text of the rows of benchmark files, in batches, and a list that fills with the place of each text.

    The files have rows with any fields. Short texts are left out: they are labels or choices.

    Raises, as it is read:
        DiskError, ValueError: a file cannot be read, or holds no text.
    """
    places: list[str] = []
    return _batches(_texts(paths), places), places


def _batches(texts: Iterator[tuple[str, str]], places: list[str]) -> Iterator[list[str]]:
    for batch in batches(texts, _BATCH):
        places += [place for place, _ in batch]
        yield [text for _, text in batch]


def _texts(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        any_text = False
        for file in all_files(path):
            for place, row in rows(file, lambda _: True):
                if row is None or isinstance(row, BrokenRow):
                    continue
                for text in texts_in(row):
                    if len(text) >= _MIN_CHARS:
                        any_text = True
                        yield place, text
        if not any_text:
            raise ValueError(f"{path} has no rows with text to search for; use JSON lines, a JSON list, Parquet or CSV")
