from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tutelage.config import recipes_folder
from tutelage.stages.run import LAYOUT

Verb = Callable[..., Result]
Refused = Callable[..., str]
Process = Callable[..., subprocess.CompletedProcess[str]]

TINY = recipes_folder() / "tiny.toml"
QUICK = ["stages.base.steps=3", "stages.chat={kind='sft',from='base',data={chat=1},steps=2,too_long='split'}"]


def test_a_reader_that_goes_away_ends_a_verb_without_a_word(process: Process, tiny: Path) -> None:
    for flag in ([], ["--json"]):
        reader, writer = os.pipe()
        os.close(reader)  # nobody reads, from the first byte on
        result = process("look", tiny / "chat", *flag, stdout=writer, stderr=subprocess.PIPE, capture_output=False)
        os.close(writer)
        assert result.stderr == ""
        assert result.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", recipes_folder() / "tny.toml"], f"there is no file {recipes_folder() / 'tny.toml'}; did you mean "),
        (["plan", recipes_folder()], f"cannot read {recipes_folder()}: is a directory; check the path"),
        (["run", TINY, "out"], "'out' is not an override; write dotted.key=value, e.g. stages.base.epochs=3"),
        (["run", TINY, "out="], "out= is empty; write out=DIR, such as out=runs/second"),
        (["run", TINY, "model.dept=3"], f"{TINY}: model has no setting 'dept'; did you mean 'depth'?"),
        (["plan", TINY, "stages.base.steps=many"], f"{TINY}: stages.base.steps must be a whole number, and 'many' is"),
        (["demo", "stages.base.lr=fast"], f"{recipes_folder() / 'demo.toml'}: stages.base.lr must be a number, and "),
        (
            ["evaluate", "nowhere/chat"],
            f"{Path('nowhere/chat').resolve()} is neither a run nor a stage of one: there is no recipe.j",
        ),
        (
            ["look", "nowhere/chat"],
            f"{Path('nowhere/chat').resolve()} is neither a run nor a stage of one: there is no recipe.json",
        ),
        (["chat", "nowhere/chat"], "there is no folder nowhere/chat, and no model of that name is in the"),
    ],
)
def test_a_wrong_command_is_one_sentence(refused: Refused, arguments: list[object], sentence: str) -> None:
    assert refused(*arguments).startswith(sentence)


def test_broken_toml_names_the_line(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text('name = "x"\nmodel = { depth = \n')
    sentence = refused("run", tmp_path / "broken.toml")
    assert sentence.startswith(f"{tmp_path / 'broken.toml'}, line 2, column ")


def test_only_names_a_stage_that_can_run(refused: Refused, tmp_path: Path) -> None:
    out = f"out={tmp_path / 'run'}"
    assert refused("run", TINY, out, "--only", "caht") == "there is no stage 'caht'; did you mean 'chat'?"
    sentence = refused("run", TINY, out, "--only", "chat")
    assert sentence == "stage 'chat' builds on 'base', which is not finished; run that first"


def test_what_is_no_finished_stage_is_refused(refused: Refused, copy: Path) -> None:
    assert refused("look", copy / "caht") == f"{copy} has no stage 'caht'; did you mean 'chat'?"
    (copy / "empty").mkdir()
    (copy / "empty" / "recipe.json").write_bytes((copy / "recipe.json").read_bytes())
    again = f"tutelage run RECIPE out={copy / 'empty'}, with the settings it was begun with"
    nothing = f"no stage of {copy / 'empty'} is finished; to resume it: {again}"
    assert refused("chat", copy / "empty") == nothing
    base = f"{copy / 'base'} is a base model and cannot chat; give a fine-tuned one"
    assert refused("chat", copy / "base") == base
    (copy / "chat" / "stage.json").unlink()
    unfinished = f"stage chat of {copy} is not finished; to resume it: tutelage run RECIPE out={copy}, with "
    assert refused("evaluate", copy / "chat").startswith(unfinished)
    assert refused("look", copy / "chat", "--step", 0) == "step 0 does not exist; steps are counted from 1"
    assert refused("look", copy / "chat", "--step", 999).startswith("stage chat has fewer than 999 steps")
    assert refused("chat", copy / "chat", "--temperature", -1).startswith("temperature is -1.0; it must be 0 ")


def test_broken_files_are_named(refused: Refused, copy: Path) -> None:
    weights, stage, recipe = copy / "chat" / "model.safetensors", copy / "chat" / "stage.json", copy / "recipe.json"
    os.truncate(weights, 1000)
    assert refused("chat", copy / "chat").startswith(f"{weights} is not a valid safetensors file (")
    stage.write_text('{"name": "ch')
    for arguments in (["evaluate", copy / "chat"], ["plan", TINY, f"out={copy}"], ["run", TINY, f"out={copy}"]):
        assert refused(*arguments).startswith(f"{stage} is not valid JSON (")
    stage.write_text("[]")  # JSON, but of no stage: it is not finished
    assert refused("evaluate", copy / "chat").startswith(f"stage chat of {copy} is not finished; to resume it: ")
    recipe.write_text('{"name": "x"}')
    assert refused("look", copy / "chat").startswith(f"{copy} was written by another version of Tutelage, ")
    recipe.write_text(json.dumps({"layout": LAYOUT, "name": "x"}))
    assert refused("look", copy / "chat") == f"{recipe} needs 'data', and it is not set"
    recipe.write_text("{")
    assert refused("look", copy / "chat").startswith(f"{recipe} is not valid JSON (")


def test_a_file_where_the_run_should_be(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert refused("run", TINY, f"out={tmp_path / 'file'}") == f"{tmp_path / 'file'} is a file; name a folder"
    within = tmp_path / "file" / "run"
    assert refused("run", TINY, f"out={within}").startswith(f"cannot write {within / '.lock'}: ")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_may_not_be_written(refused: Refused, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write anywhere")
    sentence = refused("run", TINY, f"out={tmp_path / 'run'}")
    tmp_path.chmod(0o700)
    assert sentence.endswith("permission denied; choose another folder or change its permissions")


def test_debug_shows_where_it_went_wrong(process: Process, tmp_path: Path) -> None:
    result = process("plan", tmp_path / "none.toml", "--debug")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback")
    assert "SettingsError: there is no file" in result.stderr


@pytest.mark.parametrize("blocks", [200, pytest.param(1400, marks=pytest.mark.slow)])
def test_a_disk_without_room_is_one_sentence_and_the_same_command_goes_on(
    process: Process, verb: Verb, blocks: int, tmp_path: Path
) -> None:
    """No room for the data, no room for a checkpoint: a limit on files stands for a full disk."""
    run = ["run", TINY, f"out={tmp_path}", *QUICK, "stages.base.checkpoint_seconds=0", "evaluate={}"]

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (blocks * 512, resource.RLIM_INFINITY))

    refused = process(*run, preexec_fn=limit)
    assert refused.returncode == 1, refused.stderr
    assert "Traceback" not in refused.stderr
    sentences = [line for line in refused.stderr.splitlines() if line.startswith("tutelage: ")]
    assert len(sentences) == 1
    assert sentences[0].startswith(f"tutelage: cannot write {tmp_path}")
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".new")]
    assert not (tmp_path / "base" / "stage.json").exists()
    assert verb(*run).exit_code == 0


def test_ctrl_c_is_130_and_one_sentence(process: Process, tmp_path: Path) -> None:
    code = """
import os, signal, sys
from tutelage.cli import main
def before(event, arguments):
    if event == "open" and str(arguments[0]).endswith("tiny.toml"):
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(before)
main()
"""
    result = process("-c", code, "plan", TINY)
    assert result.returncode == 128 + signal.SIGINT
    assert result.stderr == "tutelage: interrupted\n"  # a plan has nothing to resume
    result = process("-c", code, "run", TINY)
    assert result.stderr == "tutelage: interrupted; rerun to resume\n"


def test_an_error_is_a_json_line_too(verb: Verb, tmp_path: Path) -> None:
    result = verb("plan", tmp_path / "none.toml", "--json")
    assert result.exit_code == 1
    sentence = f"there is no file {tmp_path / 'none.toml'}; check the path"
    assert json.loads(result.stderr) == {"event": "error", "message": sentence}


def test_what_is_no_run_is_not_examined(refused: Refused, tmp_path: Path, copy: Path) -> None:
    assert refused("doctor", tmp_path).startswith(f"{tmp_path} is neither a run nor a stage of one: ")
    (copy / "chat" / "stage.json").unlink()
    unfinished = f"stage chat of {copy} is not finished, so there is nothing to diagnose; to resume it: tutelage run "
    assert refused("doctor", copy / "chat").startswith(unfinished)
    (copy / "base" / "stage.json").unlink()
    nothing = f"no stage of {copy} is finished, so there is nothing to diagnose; to resume it: tutelage run RECIPE "
    assert refused("doctor", copy).startswith(nothing)
