"""The real client of the hub against a server of our own, each case in a process of its own: the client reads its
address when it is imported."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hub_server import Hub, serve

from tutelage.config import recipes_folder
from tutelage.io.hub import find_data_set, size_in_words
from tutelage.runner import Run

pytest.importorskip("huggingface_hub")

ASK = """
import sys
from pathlib import Path
from tutelage.io.hub import find_data_set
from tutelage.model.hub import find_checkpoint
from tutelage.io.data_files import split_files
for name in sys.argv[2:]:
    try:
        folder = find_checkpoint(name) if sys.argv[1] == "model" else find_data_set(Path(name))
        print("found", *sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))
        if sys.argv[1] != "model":
            print(*(path.name for path in split_files(folder).train))
    except ValueError as error:
        print(error)
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as hub:
        yield hub


def run(hub: Hub, cache: Path, *arguments: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": str(int(offline))}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def ask(hub: Hub, cache: Path, kind: str, *names: str, offline: bool = False) -> list[str]:
    result = run(hub, cache, "-c", ASK, kind, *names, offline=offline)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def test_models_of_the_hub_are_found_in_every_state(hub: Hub, tmp_path: Path) -> None:
    small = {"config.json": b"{}", "tokenizer.json": b"{}"}
    carried = {"tokenizer.model": b"t", "preprocessor_config.json": b"{}", "processor_config.json": b"{}"}
    hub.add("model", "a/whole", {**small, **carried, "model.safetensors": b"w", "model.bin": b"p", "README.md": b"r"})
    hub.add("model", "a/whole", {"config.json": b"{}"}, "v2")
    hub.add("model", "a/shards", {**small, "model.safetensors.index.json": b"{}", **dict.fromkeys(SHARDS, b"w")})
    hub.status["a/gated"] = 403, "GatedRepo"
    names = "a/whole", "a/whole@v2", "a/shards", "a/whole@v3", "a/gated", "a/none"
    found = ask(hub, tmp_path, "model", *names)
    whole = f"found {' '.join(sorted([*small, *carried, 'model.safetensors']))}"
    assert found[:2] == [whole, "found config.json"]
    assert found[2] == f"found config.json {' '.join(SHARDS)} model.safetensors.index.json tokenizer.json"
    assert found[3:] == [
        "there is no folder a/whole@v3, and the model of that name on the hub has no such revision; check what follows "
        "the @",
        "there is no folder a/gated, and the model of that name on the hub is gated; accept its terms on its page "
        "there, and log in with: hf auth login",
        "there is no folder a/none, and the hub has no model of that name, or you have no access to it; check the name",
    ]
    offline = ask(hub, tmp_path, "model", "a/whole", "a/new", offline=True)
    assert offline[0] == whole
    assert "the hub cannot be reached; check the path or the network" in offline[1]


def test_a_download_that_breaks_off_is_resumed(hub: Hub, tmp_path: Path) -> None:
    hub.add("model", "a/whole", {"config.json": b"{}", "model.safetensors": bytes(24 << 20)})
    hub.broken["model.safetensors"] = 22 << 20  # the client writes pieces of 10 MiB
    result = run(hub, tmp_path, "-c", ASK, "model", "a/whole")
    assert result.stdout == "found config.json model.safetensors\n"
    assert "downloading a/whole: 2 files, 25.2 MB" in result.stderr
    (weights,) = tmp_path.rglob("model.safetensors")
    assert weights.read_bytes() == bytes(24 << 20)
    (range_asked,) = hub.ranges
    assert 10 << 20 <= int(range_asked.removeprefix("bytes=").rstrip("-")) <= 22 << 20


def test_data_sets_of_the_hub_are_found(hub: Hub, tmp_path: Path) -> None:
    train, test = "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"
    hub.add("dataset", "a/rows", {f"data/{train}": b"1", f"data/{test}": b"1", "data/x.csv": b"", "README.md": b""})
    hub.add("dataset", "a/parts", {"main/train.parquet": b"1", "socratic/train.parquet": b"1"})
    hub.add("dataset", "a/lines", {"train.jsonl": b"{}", "load.py": b""})
    hub.add("dataset", "a/script", {"load.py": b""})
    converted = {"default/train/0000.parquet": b"1", "default/test/0000.parquet": b"1"}
    hub.add("dataset", "a/script", converted, "refs/convert/parquet")
    hub.add("dataset", "a/empty", {"README.md": b""})
    hub.add("dataset", "a/empty", {}, "refs/convert/parquet")
    found = ask(hub, tmp_path, "dataset", "a/rows", "a/parts/main", "a/lines", "a/script", "a/rows@main")
    rows = [f"found {test} {train}", train]
    assert found[:4] == [*rows, "found train.parquet", "train.parquet"]
    script = ["found test/0000.parquet train/0000.parquet", "0000.parquet"]
    assert found[4:] == ["found train.jsonl", "train.jsonl", *script, *rows]
    problems = ask(hub, tmp_path, "dataset", "a/parts", "a/empty", "a/none")
    assert problems[0].startswith(
        "there is no file a/parts, and the data set of that name has several parts (main, socratic); name one: "
        "a/parts/main. To get the files yourself: https://huggingface.co/datasets/a/parts/tree/main"
    )
    assert "the data set of that name on the hub has no files of rows" in problems[1]
    assert "the hub has no data set of that name, or you have no access to it; check the name" in problems[2]
    assert ask(hub, tmp_path, "dataset", "a/rows", "a/parts/main", offline=True) == found[:4]


def test_commands_and_recipes_take_the_name_of_a_data_set(hub: Hub, tmp_path: Path) -> None:
    content = io.BytesIO()
    rows = [{"prompt": f"{n} + 1?", "completion": f"It is {n + 1}."} for n in range(9)]
    parquet.write_table(pa.Table.from_pylist(rows), content)
    hub.add("dataset", "a/sums", {"data/train.parquet": content.getvalue()})
    audited = run(hub, tmp_path, "-m", "tutelage", "audit", "a/sums", "--json")
    assert json.loads(audited.stdout)["conversations"] == 9
    recipe = tmp_path / "recipe.toml"
    more = '\n[data.sums]\nkind = "chat"\npath = "a/sums"\n[data.docs]\nkind = "documents"\npath = "docs.jsonl"\n'
    recipe.write_text((recipes_folder() / "tiny.toml").read_text() + more)
    ask_paths = "import sys, pathlib, tutelage.recipe as r; d = r.load_recipe(pathlib.Path(sys.argv[1])).data; "
    loaded = run(hub, tmp_path, "-c", f"{ask_paths} print(d['sums'].path, d['docs'].path)", str(recipe), offline=True)
    sums, docs = loaded.stdout.split()
    assert Path(sums).name == "data"
    assert (Path(sums) / "train.parquet").exists()
    assert docs == str(tmp_path / "docs.jsonl")


@pytest.mark.parametrize("name", ["rows.jsonl", "here/rows.jsonl.gz", "here/rows", "one", "a/*", "/no/such"])
def test_a_path_stays_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_data_set(Path(name)) == Path(name)


def test_without_the_package_a_sentence_says_how_to_get_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    sentence = r"^there is no file a/rows, and .* pip install 'tutelage\[hub\]'. To get the files yourself: https"
    with pytest.raises(ValueError, match=sentence):
        find_data_set(Path("a/rows"))


def test_sizes_in_words() -> None:
    sizes: list[Any] = [0, 999, 269_100_000, 4 * 10**15]
    assert [size_in_words(size) for size in sizes] == ["0 bytes", "999 bytes", "269.1 MB", "4000.0 TB"]


EXPORT = "import sys; from tutelage.cli import main; main(sys.argv[1:])"


def test_a_model_is_uploaded_with_its_card_and_no_path_of_this_machine(
    hub: Hub, tales_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Field failure: nothing went to the hub but by hand, and without a card."""
    arguments = ["export", str(tales_run.folder / "chat"), "--push", "somebody/wren", "--private"]
    monkeypatch.setenv("HF_TOKEN", "wrong")
    refused = run(hub, tmp_path / "cache", "-c", EXPORT, *arguments, "--out", str(tmp_path / "refused"))
    assert refused.returncode == 1
    assert "could not be uploaded to somebody/wren" in refused.stderr
    assert "log in with: hf auth login" in refused.stderr
    monkeypatch.setenv("HF_TOKEN", "secret")
    result = run(hub, tmp_path / "cache", "-c", EXPORT, *arguments, "--out", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert "uploaded: " in result.stdout
    files = hub.repositories["model", "somebody/wren", "main"]
    assert hub.private == {"somebody/wren": True}
    for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md"):
        assert files[name] == (tmp_path / "out" / name).read_bytes(), name
    card = files["README.md"].decode()
    assert card.startswith('---\nlibrary_name: "transformers"\n')
    assert "# somebody/wren" in card
    assert "| chat | chat.jsonl |" in card
    assert "| keeps the chat format (of " in card
    assert str(tales_run.folder) not in card
    assert str(Path.home()) not in card
