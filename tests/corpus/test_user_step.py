from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.curation import load_curation
from tutelage.corpus.pipeline import curate
from tutelage.corpus.shards import read_documents
from tutelage.corpus.user_step import PythonSettings, user_step
from tutelage.records import Document

STEP = """
def step(batch):
    batch.rewrite([text.replace("colour", "color") for text in batch.texts], "spelling")
    batch.drop([place for place, text in enumerate(batch.texts) if "LIMIT" in text], "has a limit")
"""


def write(folder: Path, limit: str) -> Path:
    rows = [{"text": "The colour of a boat."}, {"text": f"A {limit} of it."}, {"text": "Another."}]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "mine.py").write_text(STEP.replace("LIMIT", "boundary"))
    path = folder / "recipe.toml"
    path.write_text(
        'name = "x"\ninput = "a.jsonl"\nworkers = 1\n[steps]\nmine = { kind = "python", file = "mine.py" }\n'
    )
    return path


def test_a_file_beside_the_recipe_is_a_step(tmp_path: Path) -> None:
    path = write(tmp_path, "boundary")
    result = curate(load_curation(path), tmp_path / "out")
    texts = [document.text for document in read_documents(tmp_path / "out" / "00000.jsonl.zst")]
    assert texts == ["The color of a boat.", "Another."]
    (step,) = result["steps"]
    assert list(step["dropped"]) == ["has a limit"]
    assert "spelling" in step["modified"]
    assert result["recipe"]["steps"]["mine"]["file"].endswith("mine.py")
    assert str(tmp_path) not in json.dumps(result["recipe"])


def test_a_changed_file_runs_again(tmp_path: Path) -> None:
    path = write(tmp_path, "boundary")
    before = curate(load_curation(path), tmp_path / "out")
    (tmp_path / "mine.py").write_text(STEP.replace("LIMIT", "Another one"))
    after = curate(load_curation(path), tmp_path / "out")
    assert after["fingerprint"] != before["fingerprint"]
    assert len(list(read_documents(tmp_path / "out" / "00000.jsonl.zst"))) == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_like_it", "fails: ModuleNotFoundError"),
        ("def step(:", "fails: SyntaxError"),
        ("other = 3", "defines no function 'step'"),
    ],
)
def test_a_file_that_is_no_step_is_an_error(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(source)
    with pytest.raises(ValueError, match=message):
        user_step(PythonSettings(file=str(tmp_path / "a.py")))
    with pytest.raises(ValueError, match="cannot be read"):
        user_step(PythonSettings(file=str(tmp_path / "b.py")))


def test_the_function_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def short(batch): batch.drop([0], 'first')")
    batch = DocumentBatch([Document("a"), Document("b")])
    user_step(PythonSettings(file=str(tmp_path / "a.py"), function="short"))(batch)
    assert batch.texts == ["b"]
