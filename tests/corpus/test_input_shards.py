"""A large file in several shards gives the corpus that it gives in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from tutelage.config import convert
from tutelage.corpus import input_shards as module
from tutelage.corpus.curation import Curation
from tutelage.corpus.input_shards import input_shards
from tutelage.corpus.pipeline import curate
from tutelage.corpus.shards import corpus_files, corpus_result, read_lines

STEPS = {"short": {"kind": "length", "shortest": 20}, "same": {"kind": "dedup_exact"}, "lines": {"kind": "dedup_lines"}}
ROWS = [{"text": f"The day {n % 300}. " * (n % 9)} for n in range(2000)]


def recipe(folder: Path, **more: Any) -> Curation:
    return convert({"name": "x", "input": f"{folder}/in", "steps": STEPS, "workers": 1, **more}, Curation, "recipe")


def corpus(out: Path) -> list[Any]:
    """All lines that a curation wrote, and its counts."""
    kept = [line for file in corpus_files(out) for line in read_lines(file)]
    dropped = {str(file.relative_to(out)): list(read_lines(file)) for file in sorted((out / "dropped").rglob("*.zst"))}
    result = corpus_result(out)
    steps = [{**step, "seconds": 0, "details": None} for step in result["steps"]]
    return [kept, dropped, steps, result["read"], result["input_files"]]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_split_file_gives_the_same_corpus(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PART_BYTES", 10_000)
    (tmp_path / "in").mkdir()
    if kind == "parquet":
        table = pyarrow.Table.from_pylist(ROWS)
        parquet.write_table(
            table, tmp_path / "in" / "a.parquet", row_group_size=200, use_dictionary=False, compression="none"
        )
    else:
        (tmp_path / "in" / "a.jsonl").write_text("\n".join([*map(json.dumps, ROWS), "broken"]))
    (tmp_path / "in" / "b.jsonl").write_text(json.dumps({"text": "One more document of a small file."}))
    split, whole = recipe(tmp_path, shard_mib=0.02), recipe(tmp_path)
    parts = [[file.part for file in shard.files] for shard in input_shards(split)]
    assert len(parts) >= 4 and parts[0][0] is not None
    assert [[file.part for file in shard.files] for shard in input_shards(whole)] == [[None, None]]
    curate(split, tmp_path / "split")
    curate(whole, tmp_path / "whole")
    assert corpus(tmp_path / "split") == corpus(tmp_path / "whole")
    assert len(corpus_files(tmp_path / "split")) == len(parts)


def test_a_limit_reads_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PART_BYTES", 1000)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    assert len(input_shards(recipe(tmp_path, shard_mib=0.01, limit=5))) == 1
