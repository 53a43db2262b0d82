"""Classifiers of two kinds of texts, trained once from files, and what is said of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tutelage.corpus.quality.classifier import open_scorer
from tutelage.corpus.quality.training import train_from_classes

SCIENCE = "mass energy field particle orbit measure theory light".split()
SHOP = "buy shoes bags save dollars cart order cheap".split()


def write(path: Path, words: list[str], count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    rows = [" ".join(chance.choices([*words, "the", "of", "and", "a"], k=20)) for _ in range(count)]
    path.write_text("\n".join(f'{{"text": "{row}"}}' for row in rows), encoding="utf-8")
    return [str(path)]


def test_what_tells_texts_apart_is_checked_on_others(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.jsonl", SCIENCE, 60), write(tmp_path / "bad.jsonl", SHOP, 90)
    found = train_from_classes(good, bad, tmp_path / "model")
    assert (found["texts"], found["warnings"]) == (150, [])
    assert found["auc"]["low"] > 0.85
    scores = open_scorer(tmp_path / "model", None)(["the theory of light", "order cheap shoes"])
    assert scores[0] > 0.5 > scores[1]


def test_what_tells_nothing_apart_is_said_to(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.jsonl", SHOP, 60), write(tmp_path / "two.jsonl", SHOP, 60, seed=1)
    found = train_from_classes(one, two, tmp_path / "model")
    assert found["warnings"] == ["its AUC is not above chance: do not use it"]


def test_mistakes_are_said_in_a_sentence(tmp_path: Path) -> None:
    good, few = write(tmp_path / "good.jsonl", SCIENCE, 60), write(tmp_path / "few.jsonl", SHOP, 24)
    with pytest.raises(ValueError, match="60 positives and 24 negatives are too few .*; give at least 25 of each"):
        train_from_classes(good, few, tmp_path / "model")
    with pytest.raises(ValueError, match="60 texts are in both positives and negatives"):
        train_from_classes(good, good, tmp_path / "model")
    assert not (tmp_path / "model").exists()
