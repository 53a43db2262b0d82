from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tutelage.config import SettingsError, convert
from tutelage.corpus.curation import Curation
from tutelage.corpus.pipeline import curate
from tutelage.corpus.shards import read_documents
from tutelage.corpus.topics import ReweightSettings, TopicsSettings

WORDS = {
    "sea": "boat wave harbour sail storm",
    "kitchen": "pan oven bread salt soup",
    "law": "court judge appeal case act",
}


def texts(topic: str, count: int) -> list[str]:
    draw = random.Random(topic)
    return [f"The {' and the '.join(draw.choices(WORDS[topic].split(), k=8))}." for _ in range(count)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Texts of the sea, of kitchens and of courts; and a few of each to learn from."""
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    for topic in WORDS:
        (tmp_path / f"{topic}.txt").write_text("\n".join(texts(topic, 60)))
        rows = [json.dumps({"text": text}) for text in texts(topic, 60)]
        (tmp_path / f"{topic}.jsonl").write_text("\n".join(rows))
    counts = {"sea": 400, "kitchen": 300, "law": 100}
    rows = [
        {"id": f"{topic}-{n}", "text": text} for topic in counts for n, text in enumerate(texts(topic, counts[topic]))
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def recipe(folder: Path, shares: dict[str, float]) -> Curation:
    examples = {topic: [str(folder / f"{topic}.jsonl")] for topic in WORDS}
    steps = {"topics": {"kind": "topics", "examples": examples}, "mix": {"kind": "reweight", "shares": shares}}
    plain = {"name": "x", "input": str(folder / "in.jsonl"), "workers": 1, "steps": steps}
    return convert(plain, Curation, "x")


def test_topics_are_told_and_reweighted(folder: Path) -> None:
    result = curate(recipe(folder, {"sea": 1, "law": 1}), folder / "out")
    kept = list(read_documents(folder / "out" / "00000.jsonl.zst"))
    assert all(document.id.startswith(str(document.facts["topic"])) for document in kept)
    counts = {topic: sum(document.facts["topic"] == topic for document in kept) for topic in WORDS}
    assert counts["law"] == 100 and counts["kitchen"] == 0
    assert 70 <= counts["sea"] <= 130
    dropped = result["steps"][1]["dropped"]
    assert dropped["topic without a share"]["sizes"]["documents"] == 300
    assert set(dropped) == {"topic without a share", "topic above its share"}
    assert result["steps"][1]["details"]["rates"] == {"sea": 0.25, "law": 1.0}


def test_shares_of_a_topic_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ValueError, match="no document has topic = 'art'"):
        curate(recipe(folder, {"sea": 1, "art": 1}), folder / "out")


def test_settings_are_checked() -> None:
    with pytest.raises(SettingsError, match="either model, or examples"):
        TopicsSettings()
    with pytest.raises(SettingsError, match="at least two topics"):
        TopicsSettings(examples={"sea": ("a",)})
    with pytest.raises(SettingsError, match="no fastText model"):
        TopicsSettings(model="a.safetensors")
    with pytest.raises(SettingsError, match="no negative share"):
        ReweightSettings(shares={"sea": -1})
