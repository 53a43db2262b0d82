"""DSIR: its n-grams and its weights."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Corpus
from tutelage.corpus.quality.dsir import PLACES, DsirSettings, dsir, log_ratios, ngram_places
from tutelage.records import Document
from tutelage.text.words import hash_words

DRAW = random.Random(1)
SCIENCE = "mass energy field particle orbit measure theory light".split()
SHOP = "buy shoes bags save dollars cart order cheap".split()


def prose(words: list[str], count: int = 120) -> str:
    return " ".join(DRAW.choice(words) for _ in range(count))


def weigh(settings: DsirSettings, folder: Path, *shards: DocumentBatch) -> None:
    step = dsir(settings)
    collected = [step.collect(batch) for batch in shards]
    step.decide(Corpus({name: [one[name] for one in collected] for name in collected[0]}, folder, 1 << 30))
    for number, batch in enumerate(shards):
        step.apply(batch, {name: np.load(folder / f"{name}-{number:05d}.npy") for name in step.rows(batch)})


def batch_of(texts: list[str]) -> DocumentBatch:
    return DocumentBatch([Document(text, id=str(place)) for place, text in enumerate(texts)])


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=8).map(" ".join), max_size=5))
def test_ngrams_are_words_and_pairs_within_a_text(texts: list[str]) -> None:
    places, bounds = ngram_places(hash_words(texts))
    assert len(bounds) == len(texts) + 1
    seen: dict[tuple[str, ...], int] = {}
    for place, text in enumerate(texts):
        words = text.split()
        grams = [gram for at in range(len(words)) for gram in [(words[at],), tuple(words[at : at + 2])]][: -1 or None]
        own = places[bounds[place] : bounds[place + 1]].tolist()
        assert len(own) == len(grams)
        for gram, one in zip(grams, own, strict=True):
            assert seen.setdefault(gram, one) == one


def test_weights_are_logarithms_of_ratios() -> None:
    target, corpus = np.zeros(PLACES), np.zeros(PLACES)
    target[:2], corpus[:2] = [3, 1], [1, 1]
    np.testing.assert_allclose(log_ratios(target, corpus)[:3], [np.log(1.5), np.log(0.5), 0], atol=1e-6)


def test_what_looks_like_the_target_weighs_more(tmp_path: Path) -> None:
    (tmp_path / "target.txt").write_text(prose(SCIENCE, 500), encoding="utf-8")
    shards = batch_of([prose(SCIENCE), prose(SHOP), prose(SCIENCE, 99)]), batch_of([prose(SHOP), prose(SCIENCE)])
    weigh(DsirSettings(positives=(str(tmp_path / "target.txt"),)), tmp_path, *shards)
    found = [[float(document.facts["dsir_weight"]) > 0 for document in batch.documents] for batch in shards]
    assert found == [[True, False], [False, True]]
    assert [(one.document.id, one.reason) for one in shards[0].dropped] == [("2", "too few words")]


def test_mistakes_are_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="positives is empty"):
        DsirSettings(positives=())
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match="positives: there is no text"):
        dsir(DsirSettings(positives=(str(tmp_path / "empty.txt"),)))
