from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.evaluate.benchmarks import BENCHMARKS
from tutelage.evaluate.benchmarks.choice_sets import CHOICE_SETS
from tutelage.evaluate.benchmarks.data_folder import benchmark_files, find_files, read_rows
from tutelage.files import DiskError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"a": 1}\n{"b": 2}\n')
    return folder


def test_the_first_pattern_that_matches_counts(tmp_path: Path) -> None:
    touch(tmp_path, "x/GSM8K/train.jsonl.gz", "x/GSM8K/Test.jsonl", "y/gsm8k.jsonl", ".git/gsm8k/test.jsonl")
    files = BENCHMARKS["gsm8k"].files
    assert find_files(tmp_path, files) == [tmp_path / "x/GSM8K/Test.jsonl"]
    assert find_files(tmp_path / "x", files) == [tmp_path / "x/GSM8K/Test.jsonl"]
    assert find_files(tmp_path / "x" / "GSM8K", files) == [tmp_path / "x/GSM8K/Test.jsonl"]
    assert find_files(tmp_path / "y/gsm8k.jsonl", files) == [tmp_path / "y/gsm8k.jsonl"]
    assert find_files(tmp_path, ("nothing*",)) == []


def test_a_star_stays_within_a_name_and_two_stars_do_not(tmp_path: Path) -> None:
    touch(tmp_path, "set/a.json", "set/b.json", "set/deep/c.json", "hub/set/main/test-00000.parquet")
    assert [file.name for file in find_files(tmp_path, ("set/*.json",))] == ["a.json", "b.json"]
    assert [file.name for file in find_files(tmp_path, ("set/**test*",))] == ["test-00000.parquet"]


def test_files_of_two_folders_are_not_mixed(tmp_path: Path) -> None:
    touch(tmp_path, "one/piqa.jsonl", "two/piqa.jsonl")
    with pytest.raises(ValueError, match=r"has several files for piqa.jsonl\* \(one/piqa.jsonl, two/piqa.jsonl\)"):
        benchmark_files(tmp_path, CHOICE_SETS["piqa"])
    with pytest.raises(ValueError, match=r"has no file of copa: copa.jsonl\*"):
        benchmark_files(tmp_path, CHOICE_SETS["copa"])
    with pytest.raises(DiskError, match="missing"):
        benchmark_files(tmp_path / "missing", CHOICE_SETS["copa"])


def test_a_broken_row_is_named_by_file_and_row(tmp_path: Path) -> None:
    file = touch(tmp_path, "rows.jsonl") / "rows.jsonl"
    with pytest.raises(ValueError, match=r"rows.jsonl:2: it has no field 'a'; fix the row or remove it"):
        list(read_rows([file], lambda row, place: row["a"]))
