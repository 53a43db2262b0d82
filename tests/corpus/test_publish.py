"""A corpus at an address is the corpus on a disk; until all of it is there, it is not finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tutelage.config import convert
from tutelage.corpus import publish
from tutelage.corpus.curation import Curation
from tutelage.corpus.input_files import input_files
from tutelage.corpus.pipeline import curate
from tutelage.corpus.publish import curate_to
from tutelage.files import DiskError

STEPS = {"short": {"kind": "length", "shortest": 8}}


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tutelage.io.open.RETRY_SECONDS", (0.0, 0.0))
    return f"memory://{tmp_path.name}/corpus"


def recipe(folder: Path, rows: int, **more: Any) -> Curation:
    (folder / "in").mkdir(exist_ok=True)
    for number in range(rows):
        (folder / "in" / f"{number}.jsonl").write_text(f'{{"text": "words of {number}"}}\n{{"text": "few"}}\n')
    table = {"name": "x", "input": f"{folder}/in", "steps": STEPS, "workers": 1, "shard_mib": 1e-9}
    return convert({**table, **more}, Curation, "recipe")


def content(address: str) -> dict[str, bytes]:
    system, root = fsspec.core.url_to_fs(address)
    return {name.removeprefix(f"{root}/"): system.cat_file(name) for name in system.find(root)}


def test_a_corpus_at_an_address_is_that_on_a_disk(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curation = recipe(tmp_path, 3)
    result = curate_to(curation, address)
    disk = tmp_path / "local"
    curate(curation, disk)
    found = content(address)
    local = {
        str(path.relative_to(tmp_path / "local")): path.read_bytes() for path in (tmp_path / "local").rglob("*.zst")
    }
    assert len(local) == 4 and {name: found[name] for name in local} == local
    assert {"curation.json", "README.md", "index.html"} <= set(found)
    assert json.loads(found["curation.json"]) == result
    assert list((tmp_path / "cache" / "corpora").iterdir()) == []
    assert curate_to(curation, address) == result
    assert f"{address} is up to date" in capsys.readouterr().err
    # As an input it is its documents, without the dropped ones.
    assert [file.path for file in input_files([address], None)] == [f"{address}/{n:05d}.jsonl.zst" for n in range(3)]


def test_another_recipe_replaces_all_of_it_and_files_of_others_stay(address: str, tmp_path: Path) -> None:
    curate_to(recipe(tmp_path, 3), address)
    with fsspec.open(f"{address}/notes/why.txt", "wb") as file:
        file.write(b"mine")
    curate_to(recipe(tmp_path, 3, shard_mib=64, steps={}), address)
    assert set(content(address)) == {"00000.jsonl.zst", "curation.json", "README.md", "index.html", "notes/why.txt"}
    other = f"{address}-other"
    with fsspec.open(f"{other}/thesis.txt", "wb") as file:
        file.write(b"mine")
    with pytest.raises(ValueError, match=r"thesis.txt, which no curation wrote; choose another address"):
        curate_to(recipe(tmp_path, 3), other)
    assert content(other) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("fails_at", ["00001.jsonl.zst", "curation.json"])
def test_a_failed_copy_publishes_nothing_and_is_taken_up(
    fails_at: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curation = recipe(tmp_path, 3)
    system = fsspec.filesystem("memory")
    failing = True

    def put(local: str, target: str, put_file: Any = system.put_file) -> None:
        if target.endswith(fails_at) and failing:
            raise ConnectionError("503 Slow Down")
        put_file(local, target)

    monkeypatch.setattr(system, "put_file", put)
    with pytest.raises(DiskError, match="cannot write memory://.*: 503 Slow Down; rerun to resume"):
        curate_to(curation, address)
    assert "curation.json" not in content(address)
    failing = False
    curate_to(curation, address)
    assert "curation.json" in content(address) and publish.UNFINISHED not in content(address)
