"""Examined text is found where it was planted and nowhere else; pain 20: a search that can find nothing is refused."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Corpus
from tutelage.corpus.decontaminate import (
    CutSettings,
    Llama3Settings,
    Tulu3Settings,
    cut_contamination,
    decontaminate,
)
from tutelage.records import Document

FORM = "Answer the following question about the passage and give your reasoning step by step before the answer: "
DRAW = random.Random(5)
WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("n", "rt", "st", "l", "m", "x")]


def prose(words: int) -> str:
    return " ".join(DRAW.choice(WORDS) for _ in range(words)).capitalize() + "."


QUESTIONS = [prose(25) for _ in range(40)]


def examination(folder: Path) -> str:
    path = folder / "exam.jsonl.gz"
    rows = [{"question": FORM + question, "answer": prose(3), "id": place} for place, question in enumerate(QUESTIONS)]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(json.dumps(row) for row in rows))
    return str(path)


def respell(text: str) -> str:
    """The same words, with other cases, marks and lines."""
    return "\n".join(f"“{word.upper()}” --" if place % 3 else word for place, word in enumerate(text.split()))


def planted() -> tuple[list[str], list[bool]]:
    """Documents, and whether each has an examined question. The others are traps: the form that all questions share,
    quotations too short to say anything, the words of a question in another order."""
    texts, truth = [], []
    for place, question in enumerate(QUESTIONS):
        shuffled = question.lower().rstrip(".").split()
        DRAW.shuffle(shuffled)
        has = [question, respell(question), question.replace(" ", "\t")][place % 3]
        hasnt = [FORM + prose(25), " ".join(question.split()[:7]), " ".join(shuffled)][place % 3]
        for text, true in ((has, True), (hasnt, False)):
            texts.append(f"{prose(60)} {text} {prose(60)}")
            truth.append(true)
    return texts, truth


def run(step, texts: list[str]) -> DocumentBatch:  # type: ignore[no-untyped-def]
    batch = DocumentBatch([Document(text, id=str(place)) for place, text in enumerate(texts)])
    step(batch)
    return batch


def cut(settings: CutSettings, shards: list[list[str]], folder: Path) -> tuple[list[DocumentBatch], dict[str, Any]]:
    """Examined text cut out of a corpus, as the pipeline does it. The documents are numbered through."""
    step = cut_contamination(settings)
    first = np.cumsum([0, *map(len, shards)])
    batches = [
        DocumentBatch([Document(text, id=str(begin + place)) for place, text in enumerate(texts)])
        for texts, begin in zip(shards, first, strict=False)
    ]
    collected = [step.collect(batch) for batch in batches]
    columns = {name: [found[name] for found in collected] for name in collected[0]}
    figures = step.decide(Corpus(columns, folder, 1 << 20))
    for number, batch in enumerate(batches):
        batch.enter("cut")
        rows = {name: np.load(folder / f"{name}-{number:05d}.npy") for name in step.rows(batch)}
        assert {name: len(row) for name, row in rows.items()} == step.rows(batch)
        step.apply(batch, rows)
    return batches, figures


def test_planted_questions_are_found_and_traps_are_not(tmp_path: Path) -> None:
    texts, truth = planted()
    for settings in (
        Tulu3Settings(against=(examination(tmp_path),)),
        Llama3Settings(against=(examination(tmp_path),), share=0.4),
    ):
        batch = run(decontaminate(settings), texts)
        gone = {one.document.id for one in batch.dropped}
        assert [str(place) in gone for place in range(len(texts))] == truth
        assert {one.reason for one in batch.dropped} == {"contains a benchmark item"}
    assert batch.dropped[0].detail.endswith("of exam.jsonl.gz:1")


def test_a_question_is_cut_out_with_what_stands_around_it(tmp_path: Path) -> None:
    before, after = prose(100), prose(100)
    clean = prose(150)
    question = QUESTIONS[3]
    texts = [f"{before} {question} {after}", clean, f"Only {respell(question)}"]
    (batch,), _ = cut(CutSettings(against=(examination(tmp_path),)), [texts], tmp_path)
    assert [document.id for document in batch.documents] == ["0#1", "0#2", "1"]
    assert before.startswith(batch.texts[0])
    assert len(before) - len(batch.texts[0]) == 200 - 1
    assert after.endswith(batch.texts[1])
    assert len(after) - len(batch.texts[1]) == 200 - 2  # the full stop is no part of what is shared
    assert batch.texts[2] == clean
    assert [(one.document.id, one.reason) for one in batch.dropped] == [("2", "nothing but benchmark text")]


def test_a_document_with_examined_text_all_over_is_dropped(tmp_path: Path) -> None:
    text = prose(100) + "".join(f" {question} {prose(200)}" for question in QUESTIONS[:11])
    (batch,), _ = cut(CutSettings(against=(examination(tmp_path),)), [[text]], tmp_path)
    assert [one.reason for one in batch.dropped] == ["too many benchmark passages"]
    assert batch.dropped[0].detail.startswith("12 parts")


NOTICE = prose(20)  # such as stands at the foot of every page of a site


@pytest.mark.parametrize(("often", "stays"), [(10, True), (11, True), (12, False)])
def test_what_stands_in_many_documents_is_no_contamination(often: int, stays: bool, tmp_path: Path) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_text(json.dumps({"passage": f"{prose(30)} zebra {NOTICE}"}) + "\n" + json.dumps({"q": QUESTIONS[0]}))
    texts = [f"{prose(60)} {NOTICE} {prose(60)}" for _ in range(12)]
    texts[3] += f" {QUESTIONS[0]} {prose(60)}"
    texts[4] += f" {NOTICE}"  # twice in one document is one document
    settings = CutSettings(against=(str(path),), max_documents=often)
    batches, figures = cut(settings, [texts[:5], texts[5:]], tmp_path)
    whole = [document.text for batch in batches for document in batch.documents if "#" not in document.id]
    assert whole == ([text for place, text in enumerate(texts) if place != 3] if stays else [])
    assert QUESTIONS[0] not in " ".join(text for batch in batches for text in batch.texts)
    common = batches[0].modified.get("frequent benchmark n-grams kept")
    assert (common.documents if common else 0) == (5 if stays else 0)
    assert figures["shared_ngrams_too_frequent"] == (12 * (20 - 13 + 1) if stays else 0)


@pytest.mark.parametrize(("often", "precise"), [(10, True), (1000, False)])
def test_examined_text_is_found_among_notices_that_look_like_it(often: int, precise: bool, tmp_path: Path) -> None:
    """Of documents with a question, with the words of one, and with a notice that three items quote."""
    exam = Path(examination(tmp_path))
    with gzip.open(exam, "at", encoding="utf-8") as file:
        file.write(
            "".join("\n" + json.dumps({"passage": f"{prose(20)} zebra {NOTICE} zebra {prose(20)}"}) for _ in range(3))
        )
    texts, truth = planted()
    texts += [f"{prose(60)} {NOTICE} {prose(60)}" for _ in range(40)]
    settings = CutSettings(against=(str(exam),), max_documents=often)
    batches, _ = cut(settings, [texts[:50], texts[50:]], tmp_path)
    untouched = {document.id for batch in batches for document in batch.documents if "#" not in document.id}
    found = [str(place) not in untouched for place in range(len(texts))]
    assert [one for one, true in zip(found, truth, strict=False) if true] == [True] * 40
    assert sum(found[80:]) == (0 if precise else 40)


def test_an_examination_may_stand_at_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "kept"))
    fsspec.filesystem("memory").pipe("/exams/exam.jsonl.gz", Path(examination(tmp_path)).read_bytes())
    batch = run(decontaminate(Tulu3Settings(against=("memory://exams/exam.jsonl.gz",))), planted()[0])
    assert len(batch.dropped) == 40
    assert batch.dropped[0].detail.endswith("of exam.jsonl.gz:1")


def test_pain_20_a_search_that_cannot_find_anything_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.jsonl"
    path.write_text('{"question": "How many legs?"}\n' * 3, encoding="utf-8")
    with pytest.raises(ValueError, match="none of the 3 benchmark items can be matched: none has 8 words"):
        decontaminate(Tulu3Settings(against=(str(path),)))
    with pytest.raises(ValueError, match="no text in the fields prompt"):
        decontaminate(Tulu3Settings(against=(str(path),), fields=("prompt",)))
    with pytest.raises(SettingsError, match="against is empty"):
        Tulu3Settings(against=())
    with pytest.raises(SettingsError, match="width is 3"):
        CutSettings(against=("x",), width=3)
