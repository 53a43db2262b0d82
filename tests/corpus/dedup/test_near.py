from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Corpus
from tutelage.corpus.dedup.near import MinhashSettings, dedup_minhash, near_clusters
from tutelage.records import Document


def test_clusters_join_over_buckets_and_shards_and_empty_texts_stay_alone() -> None:
    buckets = [
        [np.array([1, 2, 0], np.uint64), np.array([2, 0], np.uint64)],
        [np.array([5, 6, 0], np.uint64), np.array([7, 0], np.uint64)],
        [np.array([8, 9, 0], np.uint64), np.array([8, 0], np.uint64)],
    ]
    assert near_clusters(buckets, 1 << 20).tolist() == [0, 0, 2, 0, 4]


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match="each be at least 1"):
        MinhashSettings(rows=0)


ROADS = [f"Ferry Road {n} (FR {n}) is a road in Lamar County." for n in (1506, 1507)]
SUMS = [
    f"Question: what is {a} plus {b}? Answer: we add both and find that it is {a + b}."
    for a, b in ((47, 332), (85, 598))
]
CODE = [
    "for (int i = 0; i < n; i++) { total += a[i] * b[i]; }",
    "for (int i = 0; i < n; i++) { total -= a[i] / b[i]; }",
]


@pytest.mark.parametrize(
    ("compare", "kept"), [("normalized", [1, 1, 1, 1]), ("words", [2, 2, 1, 1]), ("marks", [2, 2, 2, 1])]
)
def test_near_digits(compare: Literal["normalized", "words", "marks"], kept: list[int], tmp_path: Path) -> None:
    same = [
        "The keeper wrote a long letter to his brother of the sea.",
        "the keeper WROTE a long letter to his brother of the sea.",
    ]
    for number, (texts, left) in enumerate(zip((ROADS, SUMS, CODE, same), kept, strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        step, batch = dedup_minhash(MinhashSettings(compare=compare)), DocumentBatch([Document(text) for text in texts])
        columns = {name: [values] for name, values in step.collect(batch).items()}
        step.decide(Corpus(columns, folder, 1 << 20))
        batch.enter("near")
        step.apply(batch, {name: np.load(folder / f"{name}-00000.npy") for name in step.rows(batch)})
        assert len(batch) == left
