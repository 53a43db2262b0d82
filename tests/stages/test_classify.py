"""Runs of the stage kind "classify": specialists on an encoder and on a causal model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_recipe import START, run_quietly

from tutelage.config import SettingsError
from tutelage.evaluate.specialists import answer_spans, classify_texts, tag_words
from tutelage.io.row import BrokenRow
from tutelage.model.hub import load_model
from tutelage.recipe import load_recipe
from tutelage.records import Labelled, Span, Word
from tutelage.runner import Run
from tutelage.stages.data_labelled import labelled

STAGES = """
labelled = { kind = "labelled", path = "%(path)s" }

[stages.below]
kind = "%(below)s"
data = { world = 1 }
steps = 2

[stages.specialist]
kind = "classify"
from = "below"
task = "%(task)s"
data = { labelled = 1 }
held_out = 0.2
steps = %(steps)s
batch_tokens = 500
lr = 3e-3

[evaluate]
specialist = ["%(suite)s"]
"""
NAMES = ["Ada", "Bo", "Cy", "Dee", "Eve"]


def rows_of(task: str, count: int = 240) -> list[dict[str, Any]]:
    """Rows with a rule: cats are animals; a name after "Mr" is a person; the answer follows "is"."""
    random, made = np.random.default_rng(0), []
    for _ in range(count):
        name, noun = NAMES[random.integers(5)], ["cat", "dog", "car", "pen"][random.integers(4)]
        if task == "sequence":
            made.append({"text": f"the {noun}", "label": "animal" if noun in ("cat", "dog") else "thing"})
        elif task == "token":
            filler = ["O"] * int(random.integers(1, 4))
            tokens, tags = [noun] * len(filler), list(filler)
            made.append({"tokens": [*tokens, "Mr", name], "tags": [*tags, "O", "B-PER"]})
        else:
            context = f"{noun} is {name}"
            made.append({"question": "who", "context": context, "answers": [
                {"text": name, "answer_start": context.index(name)}]})  # fmt: skip
    return made


def run(folder: Path, task: str, suite: str, below: str = "mlm", steps: int = 40) -> Run:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(task)))
    recipe = folder / "specialist.toml"
    fields = {"path": path, "below": below, "task": task, "steps": steps, "suite": suite}
    recipe.write_text(START + STAGES % fields)
    return run_quietly(Run(load_recipe(recipe), folder / "run"))


def test_a_class_of_a_text(tmp_path: Path) -> None:
    done = run(tmp_path, "sequence", "classification")
    summary = done.summary()
    assert summary["evaluate.specialist.classification.right.rate"] == 1.0
    assert summary["evaluate.specialist.classification.macro_f1"] == 1.0
    ledger = json.loads((tmp_path / "run" / "specialist" / "stage.json").read_text())["ledgers"]["labelled"]
    assert ledger["rows_read"] == 240 == ledger["rows_kept"] + ledger["rows_held_out"]
    model = load_model(tmp_path / "run" / "specialist")
    assert model.model.config.output_labels == {"class": ("animal", "thing")}
    (said,) = classify_texts(model, [Labelled("the dog")])
    assert said["animal"] > 0.9 and sum(said.values()) == pytest.approx(1)


@pytest.mark.parametrize("below", ["mlm", "pretrain"])
def test_the_tag_of_each_word(below: str, tmp_path: Path) -> None:
    done = run(tmp_path, "token", "tags", below, 60)
    assert done.summary()["evaluate.specialist.tags.f1.rate"] > 0.95
    model = load_model(tmp_path / "run" / "specialist")
    row = labelled({"tokens": ["cat", "Mr", "Bo"], "tags": ["O", "O", "O"]}, "1")
    assert tag_words(model, [row]) == [["O", "O", "B-PER"]]


def test_the_answer_in_a_passage(tmp_path: Path) -> None:
    done = run(tmp_path, "span", "spans", steps=80)
    assert done.summary()["evaluate.specialist.spans.exact.rate"] > 0.9
    assert done.summary()["evaluate.specialist.spans.f1.mean"] > 0.9
    model = load_model(tmp_path / "run" / "specialist")
    assert answer_spans(model, [Labelled("who", "cat is Dee"), Labelled("who", "car is Bo")]) == ["Dee", "Bo"]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"text": "a"}, "no known form"),
        ({"text": " ", "label": "x"}, "no text in 'text'"),
        ({"text": "a", "label": True}, "a label that is neither text nor a number"),
        ({"tokens": ["a"], "tags": []}, "not two lists of one length"),
        ({"tokens": ["a"], "ner_tags": [1]}, "numbers need their names"),
        ({"text": "Ada Bo", "entities": [{"start": 0, "end": 2, "label": "PER"}]}, "not whole words"),
        ({"question": "q", "context": "abc", "answers": [{"text": "b", "answer_start": 0}]}, "not at its place"),
        ({"question": "q", "context": "abc"}, "no list of answers"),
    ],
)
def test_a_broken_row_is_refused_in_a_sentence(row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BrokenRow, match=sentence):
        labelled(row, "1")


def test_the_forms_of_rows() -> None:
    squad = {"question": "q", "context": "a b", "answers": {"text": ["b"], "answer_start": [2]}}
    assert labelled(squad, "1").answers == (Span(2, "b"),)
    entities = labelled({"text": "Ada Bo, hi", "entities": [{"start": 0, "end": 6, "label": "PER"}]}, "1")
    assert [word.tag for word in entities.words] == ["B-PER", "I-PER", "O", "O"]
    assert entities.words[2] == Word(6, 7, "O")
    assert labelled({"text": "a", "second": "b", "label": 1}, "1") == Labelled("a", "b", "1", id="1")


def test_what_cannot_be_trained_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'tags' needs tags of words; ask it of a stage of kind 'classify'"):
        run(tmp_path, "sequence", "tags")
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": "x"}\n' * 30)
    recipe = tmp_path / "specialist.toml"
    recipe.write_text(recipe.read_text().replace('"tags"', '"classification"'))
    with pytest.raises(SettingsError, match="its rows have 1 labels; a sequence task needs two"):
        run_quietly(Run(load_recipe(recipe), tmp_path / "run"))
    chat = '\n[stages.chat]\nkind = "sft"\nfrom = "below"\ndata = { chat = 1 }\n'
    recipe.write_text(recipe.read_text().replace("[evaluate]", f"{chat}\n[evaluate]"))
    with pytest.raises(SettingsError, match="reads in both directions and cannot write; start from a causal model"):
        run_quietly(Run(load_recipe(recipe), tmp_path / "other"), "below", "chat")
