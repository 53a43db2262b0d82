"""Files of examinations in all forms that people keep them in."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from tutelage.corpus.examination import read_items

ROWS = [
    {"question": "What is it?", "choices": ["a cat", "a dog"], "answer": 1},
    {"question": "And\u2028why?", "id": "7"},
]
TEXTS = [("What is it?", "a cat", "a dog"), ("And\u2028why?", "7")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n"),
        ("a.json", "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps({"canary": "x", "examples": ROWS})),
    ],
)
def test_json_in_all_its_forms(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    items = list(read_items(tmp_path / name))
    assert [item.texts for item in items] == TEXTS
    assert [item.name for item in items] == [f"{name}:1", f"{name}:2"]
    assert [item.texts for item in read_items(tmp_path / name, ["question"])] == [("What is it?",), ("And\u2028why?",)]


def test_packed_json_lines_tables_and_text(tmp_path: Path) -> None:
    with pyarrow.output_stream(str(tmp_path / "a.jsonl.zst"), compression="zstd") as file:
        file.write(json.dumps(ROWS[0]).encode())
    (tmp_path / "a.csv").write_text('question,answer\n"Is it, or\nnot?",yes\n', encoding="utf-8")
    (tmp_path / "a.txt").write_text("One\nquestion\n\nAnother", encoding="utf-8")
    parquet.write_table(pyarrow.table({"q": ["What?"], "n": [1]}), tmp_path / "a.parquet")
    names = ("a.jsonl.zst", "a.csv", "a.txt", "a.parquet")
    found = {name: [item.texts for item in read_items(tmp_path / name)] for name in names}
    assert found == {
        "a.jsonl.zst": TEXTS[:1],
        "a.csv": [("Is it, or\nnot?", "yes")],
        "a.txt": [("One\nquestion",), ("Another",)],
        "a.parquet": [("What?",)],
    }


@pytest.mark.parametrize("name", ["missing.jsonl", "bad.jsonl", "bad.json.gz", "bad.parquet", "empty.csv"])
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str) -> None:
    if name.startswith("bad"):
        (tmp_path / name).write_bytes(b"{nothing\xff")
    elif name.startswith("empty"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"against: .*{name}"):
        list(read_items(tmp_path / name))
