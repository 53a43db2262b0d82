from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tutelage.config import SettingsError, convert
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Corpus
from tutelage.corpus.curation import Curation
from tutelage.corpus.dedup.near import MinhashSettings, dedup_minhash, near_clusters
from tutelage.corpus.pipeline import curate
from tutelage.corpus.shards import read_documents
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


LETTER = (
    "The keeper of the light rose early on each day of the year, and looked at the sea while he worked on the lamp. "
)
NEWS = "The ferry left the island at noon, and the captain had to wait for the mail of the woman who had lost her key. "


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    rows = [{"id": "old1", "text": LETTER * 3, "dump": "a"}, {"id": "old2", "text": "Nothing of the kind is here."}]
    (tmp_path / "old.jsonl").write_text("\n".join(map(json.dumps, rows)))
    curate(recipe(tmp_path, "old", {"kind": "length", "shortest": 1}), tmp_path / "old")
    return tmp_path / "old"


def recipe(folder: Path, name: str, step: dict[str, object]) -> Curation:
    return convert(
        {"name": name, "input": str(folder / f"{name}.jsonl"), "workers": 1, "steps": {"step": step}}, Curation, "x"
    )


def test_against_corpus_only_new_text_comes_out(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = old.parent
    texts = [LETTER * 3 + "And so it was.", NEWS * 3, "", NEWS * 3 + "Or not.", "Nothing of the kind is here!"]
    rows = [{"id": f"new{n}", "text": text or "short", "dump": "a"} for n, text in enumerate(texts)]
    (folder / "new.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for against in (str(old), [str(old)]):
        result = curate(recipe(folder, "new", {"kind": "dedup_minhash", "against": against}), folder / "new")
        assert [document.id for document in read_documents(folder / "new" / "00000.jsonl.zst")] == ["new1", "new2"]
        (step,) = result["steps"]
        assert {reason: gone["sizes"]["documents"] for reason, gone in step["dropped"].items()} == {
            "near duplicate of a known corpus": 2,
            "near duplicate": 1,
        }
    assert capsys.readouterr().err.count("computing the keys") == 1
    within = {"kind": "dedup_minhash", "against": str(old), "within": "dump"}
    curate(recipe(folder, "new", within), folder / "new")  # the second old document is of no dump
    assert [d.id for d in read_documents(folder / "new" / "00000.jsonl.zst")] == ["new1", "new2", "new4"]


def test_against_corpus_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a finished corpus"):
        dedup_minhash(MinhashSettings(against=str(tmp_path)))


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        ({"kind": "dedup_exact"}, ["punctuated", "new"]),
        ({"kind": "dedup_exact", "text": "words"}, ["new"]),
        ({"kind": "dedup_url"}, ["same", "punctuated", "new"]),
    ],
)
def test_against_corpus_by_text_and_by_url(step: dict[str, str], kept: list[str], old: Path) -> None:
    rows = [
        {"id": "same", "text": LETTER * 3, "url": "http://a.org/2"},
        {"id": "punctuated", "text": "Nothing of the kind is here!", "url": "http://a.org/3"},
        {"id": "new", "text": NEWS, "url": "https://www.a.org/4/"},
    ]
    if step["kind"] == "dedup_url":
        rows.append({"id": "moved", "text": NEWS * 2, "url": "http://a.org/1#top"})
        (old.parent / "old.jsonl").write_text(json.dumps({"id": "old", "text": "A.", "url": "https://a.org/1"}))
        curate(recipe(old.parent, "old", {"kind": "length", "shortest": 1}), old)
    (old.parent / "new.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = curate(recipe(old.parent, "new", {**step, "against": str(old)}), old.parent / "new")
    assert [document.id for document in read_documents(old.parent / "new" / "00000.jsonl.zst")] == kept
    (reason,) = result["steps"][0]["dropped"]
    assert reason.endswith("of a known corpus")
    with pytest.raises(ValueError, match="is not a finished corpus"):
        curate(recipe(old.parent, "new", {**step, "against": str(old.parent)}), old.parent / "new")
