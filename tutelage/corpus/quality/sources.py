"""Texts that a step learns from, and what it learned, kept so that it is learned once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tutelage.config import fingerprint
from tutelage.corpus.fetch import cache_folder, local_file
from tutelage.corpus.quality.rubric import HIGHEST, judged_part
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


def read_scores(paths: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """What was judged of the texts of files of rows {"text", "score"}, each part once, and their scores from 0 to
    HIGHEST, their mean where a part was judged several times: float64[N]. ValueError where a row cannot be used."""
    ledger, found = Ledger("scores"), dict[str, list[float]]()
    for path in paths:
        for document in documents(path, ledger):
            score = document.facts.get("score")
            if not isinstance(score, int | float) or not 0 <= score <= HIGHEST:
                said = "no score that is a number" if not isinstance(score, int | float) else f"the score {score:g}"
                raise ValueError(f"scores: {document.id} of {path} has {said}; scores are from 0 to {HIGHEST}")
            found.setdefault(judged_part(document.text), []).append(score)
    for reason, entry in ledger.dropped.items():
        raise ValueError(f"scores: {entry.rows:,} rows cannot be read ({reason}, {', '.join(entry.examples)})")
    return list(found), np.array([np.mean(scores) for scores in found.values()], np.float64)


def learned(what: object, paths: Sequence[str], learn: Callable[[Path], None]) -> Path:
    """The file that `learn` writes to the path it is given, from the content of files; the one of before where neither
    these nor `what` (the settings that count) have changed."""
    key = fingerprint([what, *(file_hash(local_file(path)) for path in paths)])
    path = cache_folder() / "models" / key
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        learn(path)
    return path
