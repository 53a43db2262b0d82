"""Which files an input names, and what they are called in the corpus."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tutelage.corpus.curation import Curation, load_curation, shown_recipe
from tutelage.corpus.funnel_page import write_pages
from tutelage.corpus.input_files import input_files, short_pattern
from tutelage.corpus.input_shards import input_shards
from tutelage.corpus.pipeline import curate
from tutelage.corpus.shards import read_documents
from tutelage.files import DiskError, read_json

ROW = json.dumps({"text": "The keeper of the light wrote a letter."}) + "\n"


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(ROW)
    return folder


def names(folder: Path, *patterns: str, reader: str | None = None) -> list[str]:
    return [file.name for file in input_files([str(folder / pattern) for pattern in patterns], reader)]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("in/lights [final].jsonl", ["in/lights [final].jsonl"]),
        ("in/[a].jsonl", ["in/[a].jsonl"]),
        ("in/[ab].jsonl", ["in/a.jsonl", "in/b.jsonl"]),
        ("x [y]/*.jsonl", ["x [y]/c?.jsonl", "x [y]/d.jsonl"]),
        ("x [y]/c?.jsonl", ["x [y]/c?.jsonl"]),
        ("x [y]", ["x [y]/c?.jsonl", "x [y]/d.jsonl"]),
    ],
)
def test_brackets_of_a_file_that_is_there_are_its_name(pattern: str, found: list[str], tmp_path: Path) -> None:
    make(
        tmp_path,
        "in/lights [final].jsonl",
        "in/[a].jsonl",
        "in/a.jsonl",
        "in/b.jsonl",
        "x [y]/c?.jsonl",
        "x [y]/d.jsonl",
    )
    assert names(tmp_path, pattern) == found


def test_brackets_that_match_nothing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file matches the input"):
        names(tmp_path, "in/[c].jsonl")


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["a.jsonl"], ["a.jsonl"]),
        (["./a.jsonl"], ["a.jsonl"]),
        (["*.jsonl"], ["a.jsonl", "b.jsonl"]),
        (["**/*.jsonl"], ["a.jsonl", "b.jsonl", "x/a.jsonl", "y/a.jsonl"]),
        (["."], ["a.jsonl", "b.jsonl", "x/a.jsonl", "y/a.jsonl"]),
        (["a.jsonl", "x/a.jsonl"], ["a.jsonl", "x/a.jsonl"]),
    ],
)
def test_inputs_of_the_folder_that_one_is_in(
    patterns: list[str], found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.jsonl", "b.jsonl", "x/a.jsonl", "y/a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert [file.name for file in input_files(patterns, None)] == found


def test_machine_paths_are_cut_to_what_tells_inputs_apart(tmp_path: Path) -> None:
    make(tmp_path, "a/in/x.jsonl", "b/in/x.jsonl", "b/in/sub/y.jsonl")
    assert names(tmp_path, "a/in/*") == ["in/x.jsonl"]
    assert names(tmp_path, "b/in/**/*.jsonl") == ["in/sub/y.jsonl", "in/x.jsonl"]
    assert names(tmp_path, "b/in") == ["in/sub/y.jsonl", "in/x.jsonl"]
    assert names(tmp_path, "b/in/x.jsonl") == ["in/x.jsonl"]
    assert names(tmp_path, "a/in/*", "b/in/*.jsonl") == ["a/in/x.jsonl", "b/in/x.jsonl"]
    assert names(tmp_path, "a/in/*", "b/in/sub/*") == ["in/x.jsonl", "sub/y.jsonl"]
    assert names(tmp_path, "b", reader="code") == ["b"]
    assert short_pattern(str(tmp_path / "in" / "*.jsonl")) == "in/*.jsonl"
    assert short_pattern("s3://bucket/in/*.jsonl") == "s3://bucket/in/*.jsonl"


def test_machine_paths_are_nowhere_in_a_corpus(tmp_path: Path) -> None:
    found = []
    for place in ("one", "two/three"):
        folder = make(tmp_path / place, "in/b.jsonl")
        (folder / "in" / "a.txt").write_text("Words of a text.\n")
        (folder / "in" / "c.jsonl").write_text("no row\n")
        shutil.copyfile(folder / "in" / "b.jsonl", folder / "words.jsonl")
        steps = '[steps]\nlength = { kind = "length", shortest = 20 }\nnear = { kind = "dedup_exact" }\n'
        cut = 'cut = { kind = "decontaminate_llama3", share = 0.5, against = ["words.jsonl"] }\n'
        (folder / "recipe.toml").write_text(f'name = "case"\ninput = "in/*"\nworkers = 1\n{steps}{cut}')
        out = folder / "corpus"
        curate(load_curation(folder / "recipe.toml"), out)
        write_pages(out)
        result = read_json(out / "curation.json")
        assert result["recipe"]["input"] == "in/*"
        written = [path for path in out.rglob("*") if path.is_file() and path.suffix != ".zst"]
        assert not [path for path in written if str(tmp_path) in path.read_text()]
        rejects = [document.id for path in sorted(out.rglob("dropped/**/*.zst")) for document in read_documents(path)]
        found.append([[document.id for document in read_documents(out / "00000.jsonl.zst")], rejects])
        assert result["read"]["dropped"]["not JSON"]["examples"] == ["in/c.jsonl:0"]
    assert found == [[[], ["in/b.jsonl:0", "in/a.txt:0"]]] * 2


def test_reader_message_says_what_to_do(tmp_path: Path) -> None:
    def shards(name: str, **settings: str) -> None:
        folder = make(tmp_path / f"{name}{len(settings)}", name, "rows.jsonl")
        input_shards(Curation(name="x", input=str(folder / "*"), steps={}, **settings))  # type: ignore[arg-type]

    for name in ("a.csv", "a.tsv.gz", "a.jsonl.zstd"):
        shards(name)
    for name in ("a.odt", "a.epub", "a.7z", "a.rar"):
        with pytest.raises(
            ValueError, match=r"are not read; convert it, leave it out by .*input='FOLDER/\*.jsonl'.*skip"
        ):
            shards(name)
    for name in ("README", "a.dat"):
        with pytest.raises(ValueError, match=r"set reader=NAME to read all files as one of warc.*unknown_files=skip"):
            shards(name)
        shards(name, reader="json")
    shards("a.odt", unknown_files="skip")


def test_reader_message_counts_what_is_skipped(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jsonl", "in/b.odt", "in/c.odt", "in/README")
    curation = Curation(name="x", input=str(tmp_path / "in"), steps={}, unknown_files="skip", workers=1)
    result = curate(curation, tmp_path / "out")
    assert "3 files of unknown type skipped: .odt (2), no ending (1), first in/README" in result["warnings"]
    with pytest.raises(ValueError, match="b.odt: files of type .odt are not read"):
        input_shards(Curation(name="x", input=str(tmp_path / "in" / "b.odt"), steps={}, unknown_files="skip"))


def test_a_list_of_inputs_names_files_from_its_own_folder(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jsonl", "in/b.jsonl", "in/c.jsonl")
    (tmp_path / "list.txt").write_text("# chosen by hand\n\nin/c.jsonl\nin/[ab].jsonl\n")
    (tmp_path / "recipe.toml").write_text('name = "x"\ninput = "@list.txt"\n[steps]\n')
    curation = load_curation(tmp_path / "recipe.toml")
    (shard,) = input_shards(curation)
    assert [file.name for file in shard.files] == ["in/c.jsonl", "in/a.jsonl", "in/b.jsonl"]
    assert shown_recipe(curation)["input"] == f"@{tmp_path.name}/list.txt"
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match="lists no input"):
        input_shards(curation)
    (tmp_path / "list.txt").unlink()
    with pytest.raises(DiskError, match=r"list\.txt"):
        input_shards(curation)
