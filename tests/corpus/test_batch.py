from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.batch import DocumentBatch
from tutelage.records import Document

TEXTS = st.lists(st.text("ab \n", max_size=8), max_size=8)
ACTS = st.lists(st.tuples(st.sampled_from(["drop", "rewrite", "split"]), st.randoms(use_true_random=False)), max_size=6)


def documents(texts: list[str]) -> list[Document]:
    return [Document(text, str(number)) for number, text in enumerate(texts)]


def lengths(texts: list[str]) -> np.ndarray:
    return np.array([len(text) for text in texts], np.int64)


@dataclass
class Own:
    """A column that only knows how to take rows."""

    values: list[str]

    def take(self, rows: np.ndarray) -> Own:
        return Own([self.values[i] for i in rows.tolist()])


@given(TEXTS, ACTS)
def test_columns_and_origins_stay_true_whatever_a_step_does(texts: list[str], acts: list) -> None:
    batch = DocumentBatch(documents(texts))
    batch.enter("step")
    for act, random in acts:
        batch.shared("lengths", lengths), batch.shared("lists", list), batch.shared("own", Own)
        some = np.array([random.random() < 0.4 for _ in range(len(batch))], bool)
        if act == "drop":
            batch.drop(some, "unlucky")
        elif act == "rewrite":
            batch.rewrite([text + "!" if one else None for text, one in zip(batch.texts, some, strict=True)])
        else:
            batch.split([[text, "more"] if one else None for text, one in zip(batch.texts, some, strict=True)])
        if random.random() < 0.7:  # or two changes before the next look
            assert batch.shared("lengths", lengths).tolist() == [len(text) for text in batch.texts]
            assert batch.shared("lists", list) == batch.texts
            assert batch.shared("own", Own).values == batch.texts
    kept = set(batch.origins.tolist())
    gone = [drop.origin for drop in batch.dropped if drop.whole]
    assert sorted([*kept, *gone]) == list(range(len(texts)))
    for document, origin in zip(batch.documents, batch.origins.tolist(), strict=True):
        assert document.id.partition("#")[0] == str(origin)
    for drop in batch.dropped:
        assert drop.step == "step" and drop.reason == "unlucky"
        assert not drop.whole or drop.document == Document(texts[drop.origin], str(drop.origin))


def test_columns_are_made_once_and_only_changed_texts_again() -> None:
    asked: list[list[str]] = []

    def make(texts: list[str]) -> np.ndarray:
        asked.append(texts)
        return lengths(texts)

    batch = DocumentBatch(documents(["one", "three", "eleven"]))
    batch.shared("lengths", make)
    batch.shared("lengths", make)
    batch.drop([0], "first")
    batch.rewrite([None, "ten"])
    assert batch.shared("lengths", make).tolist() == [5, 3]
    assert asked == [["one", "three", "eleven"], ["ten"]]


def test_what_a_step_did_is_noted() -> None:
    batch = DocumentBatch(documents(["a b", "c", "d"]))
    batch.enter("mask")
    batch.rewrite(["a", "c", None], "names masked")
    batch.add_metadata({"language": ["en", None, "de"], "score": np.array([0.5, 1.5, 2.5])})
    assert (batch.modified["names masked"].documents, batch.modified["names masked"].characters) == (1, -2)
    assert batch.modified["language added"].documents == 2
    assert [dict(document.facts) for document in batch.documents] == [
        {"language": "en", "score": 0.5},
        {"score": 1.5},
        {"language": "de", "score": 2.5},
    ]
    assert type(batch.documents[0].facts["score"]) is float


def test_drops_carry_a_reason_and_a_detail_each() -> None:
    batch = DocumentBatch(documents(["a", "b", "c"]))
    batch.enter("rule")
    batch.drop([2, 0], ["short", "odd"], ["1 word", "x"])
    assert [(drop.document.text, drop.reason, drop.detail) for drop in batch.dropped] == [
        ("c", "short", "1 word"),
        ("a", "odd", "x"),
    ]
    assert batch.texts == ["b"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda batch: batch.drop([0, 0], "twice"),
        lambda batch: batch.drop(np.array([True]), "a mask of another length"),
        lambda batch: batch.drop([0], ["two", "reasons"]),
        lambda batch: batch.rewrite(["a"]),
        lambda batch: batch.split([[], None]),
    ],
)
def test_a_step_that_miscounts_is_stopped(wrong: Callable[[DocumentBatch], None]) -> None:
    with pytest.raises(AssertionError):
        wrong(DocumentBatch(documents(["a", "b"])))
