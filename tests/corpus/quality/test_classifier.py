"""The classifier: it tells texts apart, does so to the bit, and reads what fastText wrote."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tutelage.corpus.quality.classifier import open_scorer, train_classifier

GOOD = [
    f"the {a} of the {b} was measured and it was {c}" for a in ("mass", "age") for b in ("sun", "moon") for c in "xyz"
]
BAD = [
    f"click {a} to buy {b} now and save {c} dollars" for a in ("here", "me") for b in ("shoes", "bags") for c in "123"
]


def area(scores: np.ndarray, labels: np.ndarray) -> float:
    """The area under the curve of true against false positives: how often a good text scores above a bad one."""
    good, bad = scores[labels == 1], scores[labels == 0]
    above = (good[:, None] > bad[None, :]).mean()
    return float(above + (good[:, None] == bad[None, :]).mean() / 2)


def test_texts_are_told_apart_and_pairs_of_words_count() -> None:
    model = train_classifier(GOOD, BAD)
    scores = model.score(["The MASS of Mars, was measured", "click to buy a moon", ""])
    assert scores[0] > 0.7
    assert scores[1] < 0.3
    paired = train_classifier(["a b", "c d"] * 8, ["b a", "d c"] * 8, epochs=30)
    assert (paired.score(["a b", "c d"]) > 0.6).all()
    assert (paired.score(["b a", "d c"]) < 0.4).all()


def test_the_same_texts_make_the_same_model_to_the_bit(tmp_path: Path) -> None:
    first, second = train_classifier(GOOD, BAD), train_classifier(GOOD, BAD)
    np.testing.assert_array_equal(first.weights, second.weights)
    first.save(tmp_path / "model")
    score = open_scorer(tmp_path / "model", None)
    np.testing.assert_array_equal(score(GOOD), second.score(GOOD))


def test_both_sides_weigh_the_same_however_many_there_are() -> None:
    assert train_classifier(GOOD, BAD * 20).score(["neither word"])[0] == pytest.approx(0.5, abs=0.15)


def test_a_model_of_fasttext_is_read(tmp_path: Path) -> None:
    import fasttext

    rows = [f"__label__hq {text}" for text in GOOD] + [f"__label__cc {text}" for text in BAD]
    (tmp_path / "rows.txt").write_text("\n".join(rows * 5), encoding="utf-8")
    # With fewer than 11 threads fastText leaves a part of its first weights unset.
    model = fasttext.train_supervised(str(tmp_path / "rows.txt"), epoch=10, thread=11, verbose=0, dim=8)
    model.save_model(str(tmp_path / "model.bin"))
    scores = open_scorer(tmp_path / "model.bin", "hq")([GOOD[0], BAD[0], "two\nlines"])
    assert scores[0] > 0.5 > scores[1]
    with pytest.raises(ValueError, match="label: .*has the labels (hq, cc|cc, hq); set label"):
        open_scorer(tmp_path / "model.bin", "good")


def test_mistakes_are_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one of the two is empty"):
        train_classifier([], BAD)
    (tmp_path / "model").write_bytes(b"no model")
    for name in ("model", "missing"):
        with pytest.raises(ValueError, match="neither a classifier of `tutelage scorer`"):
            open_scorer(tmp_path / name, None)


def test_judgements_of_people_are_learned(data: Callable[[str], Path]) -> None:
    with gzip.open(data("quality_labels/split_give.jsonl.gz")) as lines:
        rows = [json.loads(line) for line in lines]
    texts, labels = [row["text"] for row in rows], np.array([row["label"] for row in rows])
    order = np.random.default_rng(0).permutation(len(rows))
    held_out, given = order[: len(rows) // 3], order[len(rows) // 3 :]
    good = [texts[i] for i in given if labels[i]]
    model = train_classifier(good, [texts[i] for i in given if not labels[i]])
    assert area(model.score([texts[i] for i in held_out]), labels[held_out]) > 0.75
