"""Training texts of scoring models, and a cache of trained models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tutelage.config import fingerprint
from tutelage.corpus.fetch import cache_folder, local_file
from tutelage.corpus.quality.rubric import HIGHEST, judged_part
from tutelage.corpus.read import documents
from tutelage.ledger import Ledger
from tutelage.text.hashing import file_hash


def read_texts(paths: Sequence[str], where: str) -> list[str]:
    """The texts of files in any readable format. Raises ValueError, naming the setting `where`, if there are none."""
    ledger = Ledger(where)
    texts = [document.text for path in paths for document in documents(path, ledger) if document.text.strip()]
    if not texts:
        why = "".join(f"; {entry.rows:,} rows: {reason}" for reason, entry in ledger.dropped.items())
        raise ValueError(f"{where}: there is no text in {', '.join(paths)}{why}; name files of training texts")
    return texts


def read_scores(paths: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The judged part of each text in files of rows {"text", "score"}, deduplicated, and its score from 0 to HIGHEST,
    float64[N], averaged if it occurs several times. Raises ValueError on an invalid row."""
    ledger, found = Ledger("scores"), dict[str, list[float]]()
    for path in paths:
        for document in documents(path, ledger):
            score = document.facts.get("score")
            if not isinstance(score, int | float) or not 0 <= score <= HIGHEST:
                fault = "no numeric score" if not isinstance(score, int | float) else f"the score {score:g}"
                raise ValueError(f"scores: {document.id} of {path} has {fault}; scores must be from 0 to {HIGHEST}")
            found.setdefault(judged_part(document.text), []).append(score)
    for reason, entry in ledger.dropped.items():
        raise ValueError(f"scores: {entry.rows:,} rows cannot be read ({reason}: {', '.join(entry.examples)})")
    return list(found), np.array([np.mean(scores) for scores in found.values()], np.float64)


def learned(what: object, paths: Sequence[str], learn: Callable[[Path], None]) -> Path:
    """The path of a trained model, from the cache if neither the files nor `what` (the settings that matter) have
    changed; otherwise `learn` trains it and writes it to that path."""
    key = fingerprint([what, *(file_hash(local_file(path)) for path in paths)])
    path = cache_folder() / "models" / key
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        learn(path)
    return path
