from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage import files as own_files
from tutelage import tokenizer as tokenizers
from tutelage.cli import main
from tutelage.config import SettingsError, convert
from tutelage.corpus import pipeline, working
from tutelage.corpus.curation import Curation, load_curation, passes
from tutelage.corpus.funnel_page import write_pages as write_pages_about
from tutelage.corpus.input_shards import input_shards
from tutelage.corpus.pipeline import curate
from tutelage.corpus.shards import corpus_files, corpus_result, read_documents, read_lines
from tutelage.files import write_json
from tutelage.ledger import Ledger
from tutelage.records import Document

STEPS: dict[str, Any] = {
    "address": {"kind": "dedup_url"},
    "lines": {"kind": "dedup_lines"},
    "short": {"kind": "length", "shortest": 3},
    "exact": {"kind": "dedup_exact"},
    "near": {"kind": "dedup_minhash", "width": 1},
}
SOME = {"lines": STEPS["lines"], "short": {"kind": "length", "shortest": 40}, "near": STEPS["near"]}
LINE = st.sampled_from(["", "a menu", "The same line.", "one of its own {}", "two {} words {}"])
PAGE = st.tuples(st.sampled_from(["", "http://a.org/{}", "https://www.A.org/1/#top"]), st.lists(LINE, max_size=3))


def write_pages(folder: Path, files: list[list[tuple[str, str]]]) -> None:
    for number, pages in enumerate(files):
        rows = [msgspec.json.encode({"text": text, "url": url}) for url, text in pages]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03d}.jsonl").write_bytes(b"\n".join(rows) + b"\n")


def recipe(folder: Path, steps: dict[str, Any], **more: Any) -> Curation:
    table = {"name": "test", "input": f"{folder}/*.jsonl", "steps": steps, "workers": 1, "shard_mib": 1e-9, **more}
    return convert(table, Curation, "recipe")


def kept(out: Path) -> list[tuple[str, str]]:
    return [(document.id, document.text) for file in corpus_files(out) for document in read_documents(file)]


def dropped(out: Path) -> list[dict[str, Any]]:
    files = sorted((out / "dropped").rglob("*.zst"))
    return [msgspec.json.decode(line) for file in files for line in read_lines(file)]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(PAGE, max_size=6), min_size=1, max_size=3), st.permutations(list(STEPS)))
def test_every_document_is_kept_or_dropped_once(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[str, list[str]]]], order: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    filled = [
        [(url.format(n), "\n".join(line.format(f, n) for line in lines)) for n, (url, lines) in enumerate(pages)]
        for f, pages in enumerate(files)
    ]
    write_pages(folder / "in", filled)
    result = curate(recipe(folder / "in", {name: STEPS[name] for name in order}), folder / "out")
    read = result["read"]
    assert read["rows_read"] == read["rows_kept"] + sum(entry["rows"] for entry in read["dropped"].values())
    steps = result["steps"]
    assert [step["step"] for step in steps] == order
    assert steps[0]["input"]["documents"] == read["rows_kept"]
    rejects = dropped(folder / "out")
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        gone = Counter(row["reason"] for row in rejects if row["step"] == step["step"])
        assert gone == {reason: entry["sizes"]["documents"] for reason, entry in step["dropped"].items()}
        assert step["input"]["documents"] == step["output"]["documents"] + gone.total()
        assert following is None or following["input"] == step["output"]
    left = kept(folder / "out")
    assert len(left) == steps[-1]["output"]["documents"]
    assert sum(len(text.split()) for _, text in left) == steps[-1]["output"]["words"]
    names = Counter([*(name for name, _ in left), *(row["id"] for row in rejects)])
    assert set(names.values()) <= {1} and names.total() == read["rows_kept"]


def pages(count: int) -> list[tuple[str, str]]:
    return [("", f"The menu\nSome text of page {'x' * (n % 70)} {'y' * (n % 40)}.") for n in range(count)]


def many_files(folder: Path, files: int = 12) -> None:
    rows = pages(600)
    write_pages(folder, [rows[number::files] for number in range(files)])


def command(folder: Path, out: Path) -> list[str]:
    write_json(folder / "recipe.json", {"steps": SOME}, sort=False)
    code = (
        "import sys; from pathlib import Path; from tutelage.config import convert;"
        "from tutelage.files import read_json;"
        "from tutelage.corpus.curation import Curation; from tutelage.corpus.pipeline import curate;"
        "table = read_json(sys.argv[1]) | {'name': 'test', 'input': sys.argv[2], 'workers': 2, 'shard_mib': 1e-9};"
        "curate(convert(table, Curation, ''), Path(sys.argv[3]))"
    )
    return [sys.executable, "-c", code, str(folder / "recipe.json"), f"{folder}/*.jsonl", str(out)]


def done_shards(out: Path) -> dict[Path, int]:
    found = {}
    for path in (out / ".work").glob("pass*/[!.]*/stats.json"):
        with suppress(FileNotFoundError):  # it may go at any moment
            found[path] = path.stat().st_ino
    return found


@pytest.mark.parametrize("shards_before_the_end", [pytest.param(3, marks=pytest.mark.slow), 30])
def test_killed_at_any_moment_and_run_again_nothing_is_lost_or_redone(
    tmp_path: Path, shards_before_the_end: int
) -> None:
    many_files(tmp_path / "in")
    never_killed = tmp_path / "never killed"
    curate(recipe(tmp_path / "in", SOME), never_killed)
    out = tmp_path / "killed"
    killed = subprocess.Popen(command(tmp_path / "in", out), stderr=subprocess.DEVNULL)
    while len(done_shards(out)) < shards_before_the_end and killed.poll() is None:
        time.sleep(0.005)
    assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = subprocess.Popen(command(tmp_path / "in", out), stderr=subprocess.DEVNULL)
    before = done_shards(out)
    seen: dict[Path, int] = {}
    while again.poll() is None:
        seen |= done_shards(out)
        time.sleep(0.02)
    assert again.wait() == 0
    assert all(seen.get(path, inode) == inode for path, inode in before.items())  # no shard was made anew
    assert kept(out) == kept(never_killed)
    assert dropped(out) == dropped(never_killed)
    statistics = [
        [
            {**step, "seconds": 0, "details": {**step["details"], "seconds": 0}}
            for step in corpus_result(folder)["steps"]
        ]
        for folder in (out, never_killed)
    ]
    assert statistics[0] == statistics[1]
    assert not (out / ".work").exists()


def test_stopped_between_shards_it_goes_on_there(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 8)
    out = tmp_path / "out"
    running = subprocess.Popen(command(tmp_path / "in", out), stderr=subprocess.PIPE, text=True)
    while len(done_shards(out)) < 2 and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate()
    assert running.returncode == 1 and "Stopped: interrupted in pass" in stderr
    assert len(done_shards(out)) >= 2
    curate(recipe(tmp_path / "in", SOME), out)
    assert corpus_result(out)["steps"][0]["input"]["documents"] == 600


def test_workers_and_shards_change_nothing_in_what_is_kept(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 7)
    curate(recipe(tmp_path / "in", SOME), tmp_path / "one")
    curate(recipe(tmp_path / "in", SOME, workers=3, shard_mib=64), tmp_path / "three")
    assert kept(tmp_path / "one") == kept(tmp_path / "three")


@pytest.mark.parametrize("last", ["curation.json", "dropped", "00001.jsonl.zst"])
def test_cut_off_while_the_results_move_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    many_files(tmp_path / "in", 3)
    out, many = tmp_path / "out", recipe(tmp_path / "in", SOME)
    curate(recipe(tmp_path / "in", {"short": STEPS["short"]}), out)  # what stood there before
    curate(many, tmp_path / "never cut off")
    for name in ("write_json", "atomic_folder", "atomic_file"):
        made = getattr(pipeline, name)

        def refuses(path: Path, *rest: Any, made: Any = made, **more: Any) -> Any:
            if Path(path).name == last:
                raise KeyboardInterrupt
            return made(path, *rest, **more)

        monkeypatch.setattr(pipeline, name, refuses)
    with pytest.raises(KeyboardInterrupt):
        curate(many, out)
    with pytest.raises(ValueError, match="is not a finished corpus"):
        corpus_files(out)
    monkeypatch.undo()
    curate(many, out)
    assert kept(out) == kept(tmp_path / "never cut off")
    assert sorted(path.name for path in out.glob("*.zst")) == corpus_result(out)["files"]


def test_a_finished_corpus_is_not_made_again_and_a_changed_recipe_is(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 2)
    out = tmp_path / "out"
    curate(recipe(tmp_path / "in", STEPS), out)
    made = (out / "curation.json").stat().st_mtime_ns
    curate(recipe(tmp_path / "in", STEPS), out)
    assert (out / "curation.json").stat().st_mtime_ns == made
    curate(recipe(tmp_path / "in", {"short": {"kind": "length", "shortest": 10_000}}), out)
    assert kept(out) == []
    assert corpus_result(out)["warnings"] == ["step short dropped all 600 documents"]


def test_fewer_drops_are_kept_aside_where_asked_and_all_are_counted(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 2)
    result = curate(
        recipe(tmp_path / "in", {"short": {"kind": "length", "shortest": 40}}, keep_dropped=3), tmp_path / "out"
    )
    assert len(dropped(tmp_path / "out")) == 2 * 3
    assert result["steps"][0]["dropped"]["too short"]["sizes"]["documents"] > 6


def test_tokens_are_counted_where_a_tokenizer_is_named(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 2)
    tokenizers.train([text for _, text in pages(9)], tokenizers.TokenizerSettings(kind="char")).save(
        tmp_path / "tokenizer"
    )
    steps = {"short": {"kind": "length", "shortest": 40}}
    result = curate(recipe(tmp_path / "in", steps, tokenizer=str(tmp_path / "tokenizer")), tmp_path / "out")
    assert result["steps"][0]["output"]["tokens"] == sum(len(text) for _, text in kept(tmp_path / "out"))


def test_a_corpus_in_parquet_is_the_same_corpus_to_all_that_read_one(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 3)
    steps = {**SOME, "language": {"kind": "language", "confidence": 0.0}}
    outs = {output: tmp_path / output for output in ("jsonl", "parquet")}
    for output, out in outs.items():
        curate(recipe(tmp_path / "in", steps, output=output), out)
        write_pages_about(out)
    assert [path.name for path in corpus_files(outs["parquet"])] == [f"{n:05d}.parquet" for n in range(3)]
    documents = {out: [d for file in corpus_files(path) for d in read_documents(file)] for out, path in outs.items()}
    assert documents["parquet"] == documents["jsonl"] and "language" in documents["jsonl"][0].facts
    assert "row of the files `*.parquet`" in (outs["parquet"] / "README.md").read_text()
    for out in outs.values():  # read again: what was found out is still there, and what was dropped is not
        curate(recipe(tmp_path / "in", {"short": STEPS["short"]}, input=str(out)), out / "again")
        again = [document for file in corpus_files(out / "again") for document in read_documents(file)]
        assert again == documents["jsonl"]
    curate(recipe(tmp_path / "in", steps), outs["parquet"])  # the other way, in the same place
    assert files_of(outs["parquet"]) == files_of(outs["jsonl"])


def files_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".parquet", ".zst")}


def test_a_folder_with_files_of_others_is_left_alone(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.jsonl.zst").write_bytes(b"")
    with pytest.raises(ValueError, match="contains mine.jsonl.zst, which no curation wrote"):
        curate(recipe(tmp_path / "in", STEPS), tmp_path / "out")
    for name in ("README.md", "dropped", "anything"):
        (tmp_path / name / name).mkdir(parents=True)
        with pytest.raises(ValueError, match=f"contains {name}, which no curation wrote; choose another folder"):
            curate(recipe(tmp_path / "in", STEPS), tmp_path / name)
        assert (tmp_path / name / name).is_dir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="file is a file; name a folder"):
        curate(recipe(tmp_path / "in", STEPS), tmp_path / "file")


def test_a_corpus_does_not_go_where_its_input_stands(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 1)
    for out in (tmp_path / "in", tmp_path):
        with pytest.raises(ValueError, match="the input .* lies inside the output folder .*; choose another folder"):
            curate(recipe(tmp_path / "in", STEPS), out)
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["000.jsonl"]


def test_a_recipe_that_replaces_anothers_corpus_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many_files(tmp_path / "in", 1)
    curate(recipe(tmp_path / "in", STEPS), tmp_path / "out")
    assert "replacing" not in capsys.readouterr().err
    (tmp_path / "out" / "notes.txt").write_text("mine")
    curate(recipe(tmp_path / "in", {}), tmp_path / "out")
    assert "replacing the corpus that test wrote" in capsys.readouterr().err
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_files, "LOCK_SECONDS", 0.1)
    many_files(tmp_path / "in", 1)
    with own_files.locked(tmp_path / "out", "go away"), pytest.raises(ValueError, match="another run is writing to"):
        curate(recipe(tmp_path / "in", STEPS), tmp_path / "out")


def test_a_new_file_is_all_that_is_read_anew(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 3)
    before = [shard.key for shard in input_shards(recipe(tmp_path / "in", STEPS))]
    (tmp_path / "in" / "0015.jsonl").write_bytes(b'{"text": "new"}\n')
    after = [shard.key for shard in input_shards(recipe(tmp_path / "in", STEPS))]
    assert [key for key in after if key in before] == before and len(after) == 4


def test_pain_15_what_no_reader_can_read_is_counted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.jsonl").write_bytes(b'{"text": "good"}\nnot json\n{"no": "text"}\n\xff\xfe\n')
    result = curate(recipe(tmp_path / "in", {"short": {"kind": "length", "shortest": 3}}), tmp_path / "out")
    ledger = result["read"]
    assert ledger["rows_kept"] == 1
    assert ledger["rows_read"] == 1 + sum(entry["rows"] for entry in ledger["dropped"].values()) == 4
    (warning,) = [line for line in result["warnings"] if line.startswith("3 records not read: ")]
    assert all(f"{reason} ({entry['rows']})" in warning for reason, entry in ledger["dropped"].items())


def test_a_reader_that_gives_up_in_the_middle_loses_only_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reader(path: str, ledger: Ledger, kind: str | None, options: object, part: None) -> Iterator[Document]:
        ledger.read()
        ledger.keep()
        yield Document("a good one", path)
        ledger.read()
        raise RecursionError("nested too deep")

    monkeypatch.setattr(working, "read_input", reader)
    many_files(tmp_path / "in", 2)
    result = curate(recipe(tmp_path / "in", {"short": {"kind": "length", "shortest": 3}}), tmp_path / "out")
    assert [name for name, _ in kept(tmp_path / "out")] == [f"in/{n:03d}.jsonl" for n in range(2)]
    assert result["read"]["dropped"]["reader failed: RecursionError"]["rows"] == 2


def test_pain_20_a_search_for_duplicates_that_finds_none_says_so(tmp_path: Path) -> None:
    write_pages(tmp_path / "in", [[("", "alone")]])
    result = curate(recipe(tmp_path / "in", STEPS), tmp_path / "out")
    assert [warning.partition(":")[0] for warning in result["warnings"]] == [
        f"step {name} matched nothing" for name in STEPS
    ]


def test_passes_end_before_steps_over_the_corpus() -> None:
    steps = {"a": STEPS["short"], "b": STEPS["exact"], "c": STEPS["near"], "d": STEPS["short"]}
    found = passes(recipe(Path("in"), steps).steps)
    assert [(one.applies, one.steps, one.collects) for one in found] == [
        (None, ("a",), "b"),
        ("b", (), "c"),
        ("c", ("d",), None),
    ]


def test_recipes_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\ninput = "in/*.jsonl"\n[steps]\nnear = { kind = "dedup_minhahs" }\n')
    with pytest.raises(SettingsError, match="steps.near.kind cannot be 'dedup_minhahs'; did you mean 'dedup_minhash'?"):
        load_curation(path)
    loaded = load_curation(path, ["steps.near.kind=dedup_minhash", "steps.near.rows=4"])
    assert loaded.input == str(tmp_path / "in/*.jsonl")
    assert load_curation(path, ["steps.near.kind=dedup_url", "input=x"]).input == os.path.join(os.getcwd(), "x")
    with pytest.raises(ValueError, match=r"no file matches the input .*; correct it with input=FILES"):
        input_shards(loaded)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("{}")
    assert len(input_shards(loaded)) == 1


def old_corpus(out: Path, **more: Any) -> None:
    """A finished corpus as Tutelage 0.1 described it: no format, and other keys."""
    curate(recipe(out.parent / "in", SOME), out)
    result = corpus_result(out)
    del result["format"]
    result["accounts"], result["facts"] = result.pop("steps"), result.pop("metadata")
    write_json(out / "curation.json", result | more, sort=False)


def test_a_corpus_of_another_version_is_refused_with_the_command_that_remakes_it(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 2)
    old = tmp_path / "old"
    old_corpus(old)
    remake = f"{old} is a corpus in the format of another version .*; make it again with tutelage curate .* out={old}$"
    for use in (
        lambda: corpus_files(old),
        lambda: input_shards(recipe(tmp_path / "in", SOME, input=str(old))),
        lambda: curate(recipe(tmp_path / "in", SOME, input=f"{old}/*.zst"), tmp_path / "x"),
        lambda: write_pages_about(old),
    ):
        with pytest.raises(ValueError, match=remake):
            use()
    looked = CliRunner().invoke(main, ["look", str(old)])
    assert looked.exit_code == 1 and f"tutelage curate RECIPE.toml out={old}" in looked.stderr
    curate(recipe(tmp_path / "in", SOME), old)  # the command that the message names
    curate(recipe(tmp_path / "in", SOME), tmp_path / "new")
    assert kept(old) == kept(tmp_path / "new")


def test_a_mix_of_another_version_names_the_folder_of_the_mix(tmp_path: Path) -> None:
    many_files(tmp_path / "in", 1)
    old_corpus(tmp_path / "stage", mix={})
    with pytest.raises(ValueError, match=f"make it again with tutelage curate RECIPE.toml out={tmp_path}$"):
        corpus_files(tmp_path / "stage")
