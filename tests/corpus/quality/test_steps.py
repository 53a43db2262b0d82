"""Steps that keep what a model finds good."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch, Step
from tutelage.corpus.quality.classifier import train_classifier
from tutelage.corpus.quality.steps import (
    QualitySettings,
    ScoreSettings,
    ToxicitySettings,
    by_function,
    quality,
    toxicity,
)
from tutelage.records import Document

GOOD = "the mass of the sun was measured and it was large"
BAD = "click here to buy shoes now and save ten dollars"


@pytest.fixture
def model(tmp_path: Path) -> str:
    train_classifier([GOOD, "the age of the moon was found"], [BAD, "buy bags here and save"], epochs=20).save(
        tmp_path / "model"
    )
    return str(tmp_path / "model")


def batch_of(*texts: str) -> DocumentBatch:
    return DocumentBatch([Document(text, id=str(place)) for place, text in enumerate(texts)])


def run(step: Step, *texts: str) -> DocumentBatch:
    batch = batch_of(*texts)
    step(batch)
    assert len(batch) + len(batch.dropped) == len(texts)
    return batch


def test_what_is_not_good_is_dropped_and_all_is_described(model: str) -> None:
    batch = run(quality(QualitySettings(model=model, at_least=0.5)), GOOD, BAD)
    assert batch.texts == [GOOD]
    assert float(batch.documents[0].facts["quality"]) > 0.5
    assert [one.reason for one in batch.dropped] == ["low quality"]


def test_a_model_is_trained_once_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    for name, text in (("good.txt", GOOD), ("bad.txt", BAD)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    settings = QualitySettings(
        positives=(str(tmp_path / "good.txt"),), negatives=(str(tmp_path / "bad.txt"),), at_least=0.5
    )
    assert run(quality(settings), GOOD, BAD).texts == [GOOD]
    (kept,) = (tmp_path / "cache" / "models").iterdir()
    written = kept.stat().st_mtime_ns
    quality(settings)
    assert kept.stat().st_mtime_ns == written
    (tmp_path / "bad.txt").write_text(BAD + " and more", encoding="utf-8")
    quality(settings)
    assert len(list((tmp_path / "cache" / "models").iterdir())) == 2


def test_toxic_sentences_go_and_the_rest_stays_as_it_is(model: str) -> None:
    good, bad = f"{GOOD.capitalize()}.", f"{BAD.capitalize()}!"
    step = toxicity(ToxicitySettings(model=trained_on_bad(model), at_most=0.5))
    batch = run(step, f"{good} {bad} {good}\n\n{good}", f"{bad} {bad}", good)
    assert batch.texts == [f"{good} {good}\n\n{good}", good]
    assert [(one.document.id, one.reason) for one in batch.dropped] == [("1", "all sentences toxic")]
    assert [float(document.facts["toxicity"]) > 0.5 for document in batch.documents] == [True, False]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("{good}.\n\n{bad}!\n\n{good}.", "{good}.\n\n{good}."),
        ("{bad}!\n{good}.\n{bad}!", "{good}."),
        ("{good}. {bad}! {bad}!\n\n{good}.", "{good}.\n\n{good}."),
        ("", ""),
        (" \n", " \n"),
    ],
)
def test_what_is_cut_leaves_no_hole(model: str, text: str, left: str) -> None:
    both = {"good": GOOD.capitalize(), "bad": BAD.capitalize()}
    step = toxicity(ToxicitySettings(model=trained_on_bad(model), at_most=0.5))
    assert run(step, text.format(**both)).texts == [left.format(**both)]


def test_toxicity_can_be_told_and_nothing_cut(model: str) -> None:
    batch = run(toxicity(ToxicitySettings(model=trained_on_bad(model), at_most=None)), GOOD, BAD, "")
    assert batch.texts == [GOOD, BAD, ""]
    assert [float(document.facts.get("toxicity", -1)) > 0.5 for document in batch.documents] == [False, True, False]
    assert "toxicity" not in batch.documents[2].facts


def trained_on_bad(model: str) -> str:
    train_classifier([BAD], [GOOD], epochs=20).save(Path(model))
    return model


def test_any_function_can_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_scores.py").write_text("def shout(texts):\n    return [t.count('!') for t in texts]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = ScoreSettings(function="own_scores:shout", name="shouting", at_least=1, at_most=2)
    batch = run(by_function(settings), "a!", "b", "c!!!")
    assert [document.facts["shouting"] for document in batch.documents] == [1]
    assert [one.reason for one in batch.dropped] == ["shouting too low", "shouting too high"]


@pytest.mark.parametrize("function", ["no_such_module:f", "json:no_such_function", "json"])
def test_a_function_that_is_not_there_is_named(function: str) -> None:
    with pytest.raises(ValueError, match="write it as package.module:function"):
        by_function(ScoreSettings(function=function))


def test_a_function_must_give_a_number_for_each_text() -> None:
    with pytest.raises(ValueError, match="one number per text"):
        run(by_function(ScoreSettings(function="builtins:len")), "a", "b")


def test_settings_need_a_model_or_what_to_train_one_from() -> None:
    for settings in ({}, {"positives": ("a",)}, {"model": "m", "positives": ("a",), "negatives": ("b",)}):
        with pytest.raises(SettingsError, match="set either model, or positives and negatives"):
            QualitySettings(**settings)  # type: ignore[arg-type]
