from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.funnel import (
    FAILED,
    MetadataCounts,
    StepStats,
    count_metadata,
    length_bins,
    metadata_rows,
    run_step,
    step_warnings,
)
from tutelage.records import Document

TEXTS = st.lists(st.text("aé \n", max_size=12), max_size=10)


def batch_of(texts: list[str]) -> DocumentBatch:
    return DocumentBatch([Document(text, str(number)) for number, text in enumerate(texts)])


@given(TEXTS, st.randoms(use_true_random=False))
def test_what_came_is_what_was_kept_and_what_was_dropped(texts: list[str], random: Random) -> None:
    def some(batch: DocumentBatch) -> np.ndarray:
        return np.array([random.random() < 0.3 for _ in range(len(batch))], bool)

    def step(batch: DocumentBatch) -> None:
        batch.split([[text, "é"] if one else None for text, one in zip(batch.texts, some(batch), strict=True)])
        batch.drop(some(batch), "first")
        batch.rewrite([text * 2 if one else None for text, one in zip(batch.texts, some(batch), strict=True)])
        batch.drop(some(batch), "second")

    stats = StepStats("step")
    batch, dropped = run_step(batch_of(texts), "step", step, stats, lambda texts: [len(text) for text in texts])
    stats.check()
    assert stats.input.documents == len(texts)
    assert stats.input.bytes == sum(len(text.encode()) for text in texts)
    assert stats.input.tokens == sum(map(len, texts))
    assert stats.output.documents == len(batch)
    assert stats.output.words == sum(len(text.split()) for text in batch.texts)
    assert stats.documents_dropped + stats.dropped_parts == len(dropped)
    assert sum(stats.input_lengths) == len(texts) and sum(stats.output_lengths) == len(batch)
    twice = StepStats("step")
    for _ in range(2):
        twice.merge(StepStats.from_dict(stats.to_dict()))
    twice.check()
    assert twice.input.bytes == 2 * stats.input.bytes


def test_a_step_that_loses_a_document_is_found_out() -> None:
    def thief(batch: DocumentBatch) -> None:
        batch.documents.pop()
        batch.origins = batch.origins[:-1]
        batch._columns.clear()

    with pytest.raises(AssertionError, match="step thief lost or duplicated 1 of 2 documents"):
        run_step(batch_of(["a", "b"]), "thief", thief, StepStats("thief"))


def test_statistics_that_do_not_add_up_are_refused() -> None:
    stats = StepStats("step")
    stats.input.words = 3
    stats.kept.words = 2
    with pytest.raises(AssertionError, match="the ledger of step does not add up: 3 words were read, but 2 kept"):
        stats.check()


def test_a_document_that_a_step_fails_on_is_dropped_alone() -> None:
    def step(batch: DocumentBatch) -> None:
        if "poison" in batch.texts:
            raise RecursionError("too deep")
        batch.drop([i for i, text in enumerate(batch.texts) if text == "bad"], "bad")

    stats = StepStats("step")
    batch, dropped = run_step(batch_of(["good", "poison", "bad"]), "step", step, stats)
    assert batch.texts == ["good"]
    assert {drop.reason: drop.detail for drop in dropped} == {FAILED: "RecursionError: too deep", "bad": ""}
    stats.check()
    assert step_warnings([stats]) == ["step step failed on 1 documents, first on 1"]


def test_a_step_that_fails_on_everything_is_an_error() -> None:
    def step(batch: DocumentBatch) -> None:
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        run_step(batch_of(["a", "b", "c"]), "step", step, StepStats("step"))


def test_pain_20_a_step_that_finds_nothing_says_so() -> None:
    steps = []
    for name, doomed in (("careless", 0), ("keen", 1), ("greedy", 2), ("late", 0)):
        stats = StepStats(name)
        batch = batch_of(["a", "b"] if name != "late" else [])
        run_step(batch, name, lambda batch, doomed=doomed: batch.drop(range(doomed), "gone"), stats)
        steps.append(stats)
    assert step_warnings(steps) == [
        "step careless matched nothing: 0 of 2 documents dropped or changed",
        "step greedy dropped all 2 documents",
        "step late got no documents",
    ]


def test_metadata_is_counted_and_summarised() -> None:
    counted: MetadataCounts = {}
    documents = [Document("", facts={"language": "en" if n % 4 else "de", "score": n / 100}) for n in range(101)]
    count_metadata(documents[:50], counted)
    count_metadata(documents[50:], counted)
    language, score = metadata_rows(counted)
    assert language == {"field": "language", "documents": 101, "values": {"en": 75, "de": 26}}
    assert score["quantiles"] == {"0%": 0.0, "5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75, "95%": 0.95, "100%": 1.0}
    assert score["values"] == {}


def test_length_bins_double() -> None:
    bins = length_bins(np.array([0, 1, 2, 3, 4, 7, 8, 1 << 40]))
    assert bins[:5].tolist() == [1, 1, 2, 2, 1]
    assert bins[-1] == 1
