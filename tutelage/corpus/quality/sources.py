"""Texts that a step learns from, and what it learned, kept so that it is learned once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tutelage.config import fingerprint
from tutelage.corpus.fetch import cache_folder
from tutelage.corpus.read import documents
from tutelage.corpus.text import file_hash
from tutelage.ledger import Ledger


def read_texts(paths: Sequence[str], where: str) -> list[str]:
    """The texts of files of any kind that can be read; ValueError, naming the setting `where`, where there is none."""
    ledger = Ledger(where)
    texts = [document.text for path in paths for document in documents(path, ledger) if document.text.strip()]
    if not texts:
        why = "".join(f"; {entry.rows:,} rows: {reason}" for reason, entry in ledger.dropped.items())
        raise ValueError(f"{where}: there is no text in {', '.join(paths)}{why}; give files of texts to learn from")
    return texts


def learned(what: object, paths: Sequence[str], learn: Callable[[Path], None]) -> Path:
    """The file that `learn` writes to the path it is given, from the content of files; the one of before where neither
    these nor `what` (the settings that count) have changed."""
    key = fingerprint([what, *(file_hash(Path(path)) for path in paths)])
    path = cache_folder() / "models" / key
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        learn(path)
    return path
