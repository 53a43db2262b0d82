from __future__ import annotations

import json
from pathlib import Path

from tutelage.corpus.curation import Curation
from tutelage.corpus.input_files import InputFile
from tutelage.corpus.pipeline import curate
from tutelage.corpus.rules.length import LengthSettings
from tutelage.corpus.shard_progress import ShardProgress, documents_done, shown
from tutelage.corpus.working import Job, work
from tutelage.progress import Bar


def test_workers_write_and_the_driver_adds_up(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in "abc"]
    first, second = ShardProgress(paths[0]), ShardProgress(paths[1])
    first.add(3)
    second.add(4)
    second.add(5, last=True)
    assert documents_done(paths) == 12  # the third has not begun
    Path(paths[2]).write_text("")
    assert documents_done(paths) == 12


def test_a_folder_that_is_gone_hides_only_the_display(tmp_path: Path) -> None:
    ShardProgress(str(tmp_path / "gone" / "a")).add(1, last=True)


def test_the_numbers_of_a_killed_run_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("7")
    bar = Bar("label", 1, "shards", 0)
    with shown([str(path)], bar):
        assert not path.exists()
        ShardProgress(str(path)).add(2)
    assert bar.numbers == {"documents": 2}


def test_a_shard_tells_its_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"words {n}"}) for n in range(30)))
    steps = {"short": LengthSettings(shortest=8)}
    recipe = Curation(name="x", input=str(tmp_path / "a.jsonl"), steps=steps, workers=1)
    progress = tmp_path / "a.progress"
    work(
        Job(
            recipe,
            0,
            (InputFile(str(tmp_path / "a.jsonl"), "a"),),
            None,
            0,
            str(tmp_path / "shard"),
            progress=str(progress),
        )
    )
    assert progress.read_text() == "30"


def test_the_last_line_of_a_pass_has_the_documents(tmp_path: Path, capsys: object) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"words {n}"}) for n in range(30)))
    steps = {"short": LengthSettings(shortest=8)}
    curate(Curation(name="x", input=str(tmp_path / "a.jsonl"), steps=steps, workers=1), tmp_path / "out")
    assert "took" in (said := capsys.readouterr().err) and "documents 30" in said  # type: ignore[attr-defined]
    assert not (tmp_path / "out" / ".work").exists()
