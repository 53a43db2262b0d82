from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Corpus, GlobalStep
from tutelage.corpus.select import KeepTopSettings, PercentilesSettings, keep_top, percentiles
from tutelage.records import Document


def scored(scores: list[float | None], **facts: str) -> list[Document]:
    return [
        Document("text", str(number), facts={**facts, **({} if score is None else {"score": score})})
        for number, score in enumerate(scores)
    ]


def run(step: GlobalStep, shards: list[list[Document]], folder: Path) -> tuple[list[DocumentBatch], dict[str, Any]]:
    batches = [DocumentBatch(shard) for shard in shards]
    collected = [step.collect(batch) for batch in batches]
    columns = {name: [found[name] for found in collected] for name in collected[0]}
    figures = step.decide(Corpus(columns, folder, 1 << 20))
    for number, batch in enumerate(batches):
        batch.enter("select")
        step.apply(batch, {name: np.load(folder / f"{name}-{number:05d}.npy") for name in step.rows(batch)})
    return batches, figures


def kept(batches: list[DocumentBatch]) -> list[list[str]]:
    return [[document.id for document in batch.documents] for batch in batches]


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        (KeepTopSettings(field="score", count=2), [["1"], ["0"]]),
        (KeepTopSettings(field="score", share=0.34), [["1"], ["0"]]),
        (KeepTopSettings(field="score", count=2, lowest=True), [["0", "2"], []]),
        (KeepTopSettings(field="score", share=1), [["0", "1", "2"], ["0", "2"]]),
    ],
)
def test_the_best_of_the_whole_corpus_stay(settings: KeepTopSettings, left: list[list[str]], tmp_path: Path) -> None:
    shards = [scored([1.0, 9.0, 2.0]), scored([8.0, None, 3.0])]
    batches, figures = run(keep_top(settings), shards, tmp_path)
    assert kept(batches) == left
    assert figures["kept"] == sum(map(len, left))
    assert [drop.reason for drop in batches[1].dropped if drop.document.id == "1"] == ["no score"]


def test_noise_prefers_the_better_and_takes_others_too(tmp_path: Path) -> None:
    """Taking the largest of score + Gumbel noise draws without replacement in proportion to exp(score)."""
    scores = [float(np.log(4)) if number % 2 else 0.0 for number in range(4000)]
    (batch,), _ = run(keep_top(KeepTopSettings(field="score", count=40, gumbel=True)), [scored(list(scores))], tmp_path)
    better = sum(int(document.id) % 2 for document in batch.documents)
    assert 24 <= better <= 39  # 32 of 40 are meant; the standard deviation is 2.5
    assert len(batch) == 40


def test_head_middle_and_tail_of_each_language(tmp_path: Path) -> None:
    english = scored([float(n) for n in range(1, 11)], language="en")
    german = scored([float(n) for n in range(100, 110)], language="de")
    settings = PercentilesSettings(field="score", within="language", keep=("head", "middle"))
    batches, figures = run(percentiles(settings), [english, german], tmp_path)
    buckets = [[document.facts["bucket"] for document in batch.documents] for batch in batches]
    assert buckets == [["head"] * 3 + ["middle"] * 3] * 2
    assert (figures["head"], figures["middle"], figures["tail"]) == (6, 6, 8)
    assert {drop.reason for drop in batches[0].dropped} == {"not in head or middle"}


def test_settings_that_mean_nothing_are_refused() -> None:
    for wrong in (
        lambda: KeepTopSettings(field="score"),
        lambda: KeepTopSettings(field="score", share=0.1, count=1),
        lambda: KeepTopSettings(field="score", share=0.0),
        lambda: PercentilesSettings(cuts=(60, 30)),
        lambda: PercentilesSettings(keep=("heads",)),
    ):
        with pytest.raises(SettingsError):
            wrong()
