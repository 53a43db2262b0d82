"""A judge's scores, distilled: what is learned agrees with the judge about unseen texts, and no more is claimed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.client import EndpointSettings
from tutelage.config import SettingsError, recipes_folder
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.curation import load_curation
from tutelage.corpus.pipeline import curate
from tutelage.corpus.probe import probe_documents
from tutelage.corpus.quality.classifier import open_scorer, train_classifier
from tutelage.corpus.quality.distil import (
    DistilledScoreSettings,
    agreement,
    distil,
    distilled_score,
    on_scale,
    open_score_model,
)
from tutelage.corpus.quality.judge import judge
from tutelage.corpus.quality.rubric import EDUCATIONAL
from tutelage.corpus.quality.training import train_from_scores
from tutelage.corpus.shards import corpus_files, read_documents
from tutelage.records import Document

GOOD = "planet energy number history cell river theorem light grammar atom".split()
PLAIN = "boat dog blue shoe cup tree road hat bus lamp door cake sand wool rope coin leaf bell park song".split()


def texts(count: int, seed: int = 0) -> list[str]:
    """Texts with from none to six of the words that the judge of the tests likes."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        words = chance.choices(PLAIN, k=30) + chance.sample(GOOD, chance.randint(0, 6))
        chance.shuffle(words)
        found.append(" ".join(words))
    return found


def rule(text: str) -> int:
    return min(5, len(set(GOOD) & set(text.split())))


def write_scores(path: Path, rows: list[tuple[str, float]]) -> str:
    path.write_text("\n".join(json.dumps({"text": text, "score": score}) for text, score in rows), encoding="utf-8")
    return str(path)


def test_what_is_learned_from_a_judge_agrees_with_it_on_other_documents(endpoint: Any, tmp_path: Path) -> None:
    """From the endpoint's answers to the model's file, as the commands go."""
    (tmp_path / "pages.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts(400)))
    settings = EndpointSettings(url=endpoint.url, model="judge")
    judge([str(tmp_path / "pages.jsonl")], settings, tmp_path / "scores.jsonl", EDUCATIONAL, 400)
    found = train_from_scores([str(tmp_path / "scores.jsonl")], tmp_path / "model", 3)
    assert found["warnings"] == []
    assert found["f1"]["low"] > 0.85 > found["f1_keep_all"]
    assert found["auc"]["low"] > 0.95
    assert found["spearman"]["low"] > 0.9
    others = texts(300, seed=1)
    again = agreement(
        open_score_model(tmp_path / "model").score(others), np.array([rule(text) for text in others], float)
    )
    assert again.f1 is not None and again.f1.high >= found["f1"]["low"]
    assert again.f1.value > 0.85


def test_a_step_keeps_what_the_judge_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    scores = write_scores(tmp_path / "scores.jsonl", [(text, rule(text)) for text in texts(400)])
    step = distilled_score(DistilledScoreSettings(scores=(scores,)))
    others = texts(200, seed=1)
    batch = DocumentBatch([Document(text, str(place)) for place, text in enumerate(others)])
    batch.enter("educational")
    step(batch)
    kept = {int(document.id) for document in batch.documents}
    assert len(kept) + len(batch.dropped) == 200
    assert np.mean([(place in kept) == (rule(text) >= 3) for place, text in enumerate(others)]) > 0.85
    assert all(2.5 <= float(document.facts["distilled_score"]) <= 5 for document in batch.documents)
    assert {one.reason for one in batch.dropped} == {"distilled score too low"}
    (model,) = (tmp_path / "cache" / "models").iterdir()
    for limit, count in ((None, 200), (5, None)):
        batch = DocumentBatch([Document(text) for text in others])
        distilled_score(DistilledScoreSettings(model=str(model), at_least=limit))(batch)
        assert len(batch) == count if count else 0 < len(batch) < len(kept)


def test_scores_that_say_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all 60 scores are 3, so nothing can be learned from them"):
        distil(texts(60), np.full(60, 3.0))
    with pytest.raises(ValueError, match="49 scores are too few"):
        distil(texts(49), np.arange(49) % 6.0)
    rows = [(text, rule(text) // 3) for text in texts(200)]
    found = train_from_scores([write_scores(tmp_path / "low.jsonl", rows)], tmp_path / "model", 3)
    assert (found["f1"], found["auc"]) == (None, None)
    assert found["warnings"] == ["the judge put all texts on one side of 3: this threshold cannot be evaluated"]


def test_scores_by_chance_are_not_called_good(tmp_path: Path) -> None:
    chance = random.Random(0)
    rows = [(text, chance.choice([1.0, 4.0])) for text in texts(300)]
    found = train_from_scores([write_scores(tmp_path / "noise.jsonl", rows)], tmp_path / "model", 3)
    assert found["warnings"] == ["its AUC is not above chance: do not use it"]
    assert found["auc"]["low"] < 0.5


def test_the_same_scores_make_the_same_model(tmp_path: Path) -> None:
    given, scores = texts(100), np.array([rule(text) for text in texts(100)], float)
    for name in ("one", "two"):
        distil(given, scores)[0].save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@given(
    st.lists(st.floats(0, 1), min_size=5, max_size=5).map(sorted),
    st.lists(st.floats(0, 1), min_size=2, max_size=9).map(sorted),
)
def test_the_scale_keeps_the_order_and_is_cut_where_it_should_be(cuts: list[float], found: list[float]) -> None:
    scores = on_scale(np.array(found), np.array(cuts))
    assert (np.diff(scores) >= 0).all()
    assert scores.min() >= 0 and scores.max() <= 5
    for one, score in zip(found, scores, strict=True):
        above = sum(one > cut + 1e-9 for cut in cuts)
        below = sum(one < cut - 1e-9 for cut in cuts)
        assert above - 0.5 - 1e-6 <= score <= 5 - below + 0.5 + 1e-6


def test_models_of_one_kind_are_not_taken_for_the_other(tmp_path: Path) -> None:
    distil(texts(60), np.array([rule(text) for text in texts(60)], float))[0].save(tmp_path / "distilled_score")
    with pytest.raises(ValueError, match="use it in a step of kind distilled_score"):
        open_scorer(tmp_path / "distilled_score", None)
    train_classifier(["a b"], ["c d"]).save(tmp_path / "kinds")
    for name in ("kinds", "none"):
        with pytest.raises(ValueError, match="not a model of `tutelage scorer --scores`"):
            open_score_model(tmp_path / name)


def test_a_preset_asks_for_its_scores(tmp_path: Path) -> None:
    recipe = recipes_folder() / "fineweb_edu.toml"
    with pytest.raises(SettingsError, match="set either model, or scores to train one"):
        load_curation(recipe, ["input=x"])
    loaded = load_curation(recipe, ["input=x", "steps.educational.scores=['scores.jsonl']"])
    assert loaded.steps["educational"] == DistilledScoreSettings(scores=(str(Path.cwd() / "scores.jsonl"),), at_least=3)


def test_a_preset_scores_what_its_rules_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    scores = write_scores(tmp_path / "scores.jsonl", [(text, rule(text)) for text in texts(60)])
    rows = [json.dumps({"text": document.text}) for document in probe_documents()]
    (tmp_path / "pages.jsonl").write_text("\n".join(rows), encoding="utf-8")
    given = [f"input={tmp_path / 'pages.jsonl'}", "workers=1", f"steps.educational.scores=['{scores}']"]
    recipe = load_curation(recipes_folder() / "fineweb_edu.toml", [*given, "steps.educational.at_least=0"])
    *_, last = curate(recipe, tmp_path / "corpus")["steps"]
    assert (last["step"], last["input"]) == ("educational", last["output"])
    kept = [document for file in corpus_files(tmp_path / "corpus") for document in read_documents(file)]
    assert len(kept) == last["output"]["documents"] >= 1
    assert all(0 <= float(document.facts["distilled_score"]) <= 5 for document in kept)
