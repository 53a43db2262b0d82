"""Parts of an input, and what they say of the whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.config import SettingsError
from tutelage.corpus.curation import load_curation
from tutelage.corpus.estimate import draw, estimate
from tutelage.corpus.input_shards import InputShard
from tutelage.corpus.pipeline import curate
from tutelage.corpus.shards import corpus_files, read_documents

FILES, ROWS = 8, 50
RECIPE = 'name = "x"\ninput = "in"\nworkers = 1\n[steps]\nshort = { kind = "length", shortest = 20 }\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe, and files in which every second document is too short."""
    (tmp_path / "in").mkdir()
    for file in range(FILES):
        rows = [{"id": f"{file}-{row}", "text": "word " * (2 if row % 2 else 20)} for row in range(ROWS)]
        (tmp_path / "in" / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def curated(folder: Path, *settings: str) -> tuple[dict[str, Any], list[str]]:
    out = folder / "-".join(["out", *settings])
    result = curate(load_curation(folder / "recipe.toml", settings), out)
    return result, [document.id for file in corpus_files(out) for document in read_documents(file)]


def test_a_limit_reads_the_first_documents_of_each_file(folder: Path) -> None:
    result, ids = curated(folder, "limit=4")
    assert ids == [f"{file}-{row}" for file in range(FILES) for row in (0, 2)]
    assert result["read"]["rows_read"] == FILES * 4
    assert any("8 files were read up to 4 documents" in warning for warning in result["warnings"])
    everything, _ = curated(folder, f"limit={ROWS + 1}")
    assert not any("limit" in warning for warning in everything["warnings"])


def test_a_sample_is_told_by_ids_and_counted(folder: Path) -> None:
    result, some = curated(folder, "sample=0.3")
    _more, many = curated(folder, "sample=0.6")
    assert set(some) < set(many)
    read = result["read"]
    assert read["rows_read"] == FILES * ROWS == read["rows_kept"] + read["dropped"]["not in the sample"]["rows"]
    assert 80 < read["rows_kept"] < 160
    assert result["steps"][0]["input"]["documents"] == read["rows_kept"]
    assert any("are not in the sample (sample = 0.3)" in warning for warning in result["warnings"])
    assert not any("not read" in warning for warning in result["warnings"])
    _, again = curated(folder, "sample=0.3", "shard_mib=0.001")
    assert again == some


@pytest.mark.parametrize("setting", ["limit=0", "sample=0", "sample=1.5"])
def test_parts_out_of_range_are_refused(folder: Path, setting: str) -> None:
    with pytest.raises(SettingsError, match=setting.split("=")[0]):
        load_curation(folder / "recipe.toml", [setting])


def test_an_estimate_scales_some_files_to_all(folder: Path) -> None:
    sizes = {file.name: file.stat().st_size for file in (folder / "in").iterdir()}
    enough = sum(sizes.values()) / 4
    found = estimate(load_curation(folder / "recipe.toml", ["shard_mib=1e-6"]), enough / 2**20)
    assert (found["files"], found["shards"], found["bytes"]) == (FILES, FILES, sum(sizes.values()))
    assert 2 <= found["shards_drawn"] <= 3
    assert found["sample"]["documents"] == found["shards_drawn"] * ROWS
    # All files are alike, so that the estimate is what curating all of them gives.
    whole, _ = curated(folder)
    assert found["estimate"]["documents"] == FILES * ROWS
    assert found["estimate"]["kept"] == whole["steps"][-1]["output"]
    assert found["estimate"]["core_hours"] > found["sample"]["core_hours"] > 0


def test_an_estimate_needs_whole_files(folder: Path) -> None:
    with pytest.raises(SettingsError, match="whole files"):
        estimate(load_curation(folder / "recipe.toml", ["limit=3"]), 1)


def test_an_estimate_reads_parts_of_a_large_file(folder: Path) -> None:
    whole = b"".join(path.read_bytes() for path in sorted((folder / "in").iterdir()))
    (folder / "in" / "large.jsonl").write_bytes(whole * (10_000_000 // len(whole)))
    found = estimate(load_curation(folder / "recipe.toml", [f"input={folder}/in/large.jsonl"]), 1)
    assert (found["files"], found["shards_drawn"]) == (1, 1) and found["shards"] >= 2
    assert found["estimate"]["documents"] == pytest.approx(10_000_000 / len(whole) * FILES * ROWS, rel=0.02)


def test_shards_are_drawn_until_they_are_enough() -> None:
    shards = [InputShard((), 10, str(number)) for number in range(100)]
    assert len(draw(shards, 95)) == 10
    assert len(draw(shards, 0.1)) == 1
    assert sorted(shard.key for shard in draw(shards, 1e9)) == sorted(shard.key for shard in shards)


def test_the_command_says_what_all_would_give(folder: Path) -> None:
    run = CliRunner().invoke(main, ["curate", str(folder / "recipe.toml"), "--estimate", "1"])
    assert run.exit_code == 0, run.output
    assert "documents read" in run.output
    assert not (folder / "corpora").exists()
