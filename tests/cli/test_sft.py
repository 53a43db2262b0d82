from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tutelage import files
from tutelage.chat import VerificationError
from tutelage.cli.training_audit import audit_if_refused
from tutelage.runner import Run

Verb = Callable[..., Result]
Refused = Callable[..., str]
Chats = Callable[..., Path]


@pytest.fixture(scope="module")
def base(tales_run: Run) -> Path:
    """A base model."""
    return (tales_run.folder / "base").resolve()


@pytest.fixture(scope="module")
def tuned(verb: Verb, base: Path, tales: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], Path]:
    """A fine-tuned model, and the command that made it."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    chats, others = tales.parent / "chat.jsonl", tales.parent / "held_out.jsonl"
    command: list[object] = ["sft", "--model", base, "--data", chats, "--held-out", others, "--epochs", 1]
    command += ["--batch-tokens", 600, "--warmup", 0.25, "--out", out]
    result = verb(*command)
    assert result.exit_code == 0, result.output
    return command, out


@pytest.fixture
def copy(tuned: tuple[list[object], Path], tmp_path: Path) -> Path:
    """A copy of what was fine-tuned that a test may break."""
    return Path(shutil.copytree(tuned[1], tmp_path / "copy"))


def test_what_is_asked_for_lands_in_the_recipe(tuned: tuple[list[object], Path], tales: Path) -> None:
    recipe = json.loads((tuned[1] / "recipe.json").read_text())
    stage, data = recipe["stages"]["sft"], recipe["data"]["chat"]
    assert (stage["batch_tokens"], stage["schedule"]["warmup"], stage["held_out"]) == (600, 0.25, 0.0)
    assert data["held_out"] == str((tales.parent / "held_out.jsonl").resolve())
    summary = json.loads((tuned[1] / "summary.json").read_text())
    assert summary["stages.sft.ledgers.chat.rows_kept"] == 22
    assert summary["stages.sft.held_out.chat"] > 0


def test_the_folder_of_something_else_is_refused_in_the_words_of_the_command(
    refused: Refused, tuned: tuple[list[object], Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    command = tuned[0][:-1]
    assert refused(*command, tmp_path).endswith("holds files that are not a run; name a new or empty folder: --out DIR")


def test_the_folder_that_another_run_writes_to_is_left_to_it(
    refused: Refused, tuned: tuple[list[object], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    with files.locked(tmp_path / "run", ""):
        sentence = refused(*tuned[0][:-1], tmp_path / "run")
    assert sentence == f"another run is writing to {tmp_path / 'run'}; wait for it, or name another folder: --out DIR"


def test_what_to_run_again_is_said_in_the_words_of_the_command(
    refused: Refused, tuned: tuple[list[object], Path], copy: Path, base: Path, tales: Path
) -> None:
    again = f"tutelage sft --model {base} --data {tales.parent / 'chat.jsonl'} --out {copy}, with the settings it was"
    (copy / "sft" / "stage.json").write_text(
        (copy / "sft" / "stage.json").read_text().replace('"fingerprint": "', '"fingerprint": "0')
    )
    changed = refused("evaluate", copy)
    assert changed.startswith(f"stage sft of {copy} is out of date: its data, its settings, its parent model")
    assert again in changed
    (copy / "sft" / "stage.json").unlink()
    assert refused("evaluate", copy).startswith(f"stage sft of {copy} is not finished; to resume it: {again}")
    (copy / "sft" / "config.json").unlink()
    for other in ("chat", "evaluate"):
        assert refused(other, copy).startswith(f"no stage of {copy} is finished; to resume it: {again}")


def test_what_was_measured_is_measured_again_where_that_is_asked(verb: Verb, copy: Path) -> None:
    stored = copy / "sft" / "evaluate" / "forgetting.json"
    true = stored.read_text()
    changed = json.loads(true)
    changed["results"]["figures"]["before"] += 1
    stored.write_text(json.dumps(changed))
    assert verb("evaluate", copy).exit_code == 0
    assert json.loads(stored.read_text()) == changed
    assert verb("evaluate", copy, "--force").exit_code == 0
    assert json.loads(stored.read_text()) == json.loads(true)


def test_held_out_rows_that_are_trained_on_are_refused(
    refused: Refused, base: Path, tales: Path, tmp_path: Path
) -> None:
    chats = tales.parent / "chat.jsonl"
    sentence = refused("sft", "--model", base, "--data", chats, "--held-out", chats, "--out", tmp_path / "run")
    assert "is not ready for training: also in the held-out file (22)" in sentence
    details = f"tutelage audit {chats} --held-out {chats}"
    assert sentence.endswith(f"for details: {details}; to leave these rows out: {details} --fix FILE")


def test_refused_rows_are_shown_with_the_whole_audit(verb: Verb, base: Path, tmp_path: Path) -> None:
    """B14: training stopped at the first broken row, or at a template error, and named no other fault."""
    rows = [
        {"prompt": f"who fears the {word}?", "completion": "the hen does."} for word in ("fox", "owl", "cat", "dog")
    ]
    rows += [{"prompt": "who is old?", "completion": ""}, rows[0]]
    data = tmp_path / "mine.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    result = verb("sft", "--model", base, "--data", data, "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "exact duplicates of an earlier row" in result.stderr
    assert "mine.jsonl:5" in result.stderr
    details = f"tutelage audit {data} --model {base}"
    assert result.stderr.endswith(f"for details: {details}; to leave these rows out: {details} --fix FILE\n")
    assert not (tmp_path / "run").exists()
    clean = tmp_path / "clean.jsonl"
    assert verb("audit", data, "--model", base, "--fix", clean).exit_code == 0
    assert len(clean.read_text().splitlines()) == 4


def test_a_refused_conversation_is_explained_only_by_what_the_audit_finds(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"prompt": "who fears the fox?", "completion": "the hen does."}
    data = tmp_path / "mine.jsonl"
    for rows, ending in (([good, {**good, "completion": ""}], "--fix FILE"), ([good], "a turn without an end")):
        data.write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(ValueError, match=f"{ending}$"), audit_if_refused([data], str(base), False):
            raise VerificationError("a turn without an end")
        assert ("Not ready for training" in capsys.readouterr().err) == (len(rows) == 2)


@pytest.mark.parametrize("name", ["sff", "bas"])
def test_a_mistyped_stage_gets_the_nearest_name(refused: Refused, copy: Path, tales: Path, name: str) -> None:
    nearest = {"sff": "sft", "bas": "base"}[name]
    sentence = f"{copy} has no stage '{name}'; did you mean '{nearest}'?"
    commands = [["chat"], ["evaluate"], ["doctor"], ["look"], ["export"], ["compare", copy]]
    commands.append(["sft", "--data", tales.parent / "chat.jsonl", "--out", copy / "x", "--model"])
    for command in commands:
        assert refused(*command, copy / name) == sentence, command


def test_a_few_own_lines(chats: Chats, refused: Refused, verb: Verb, tiny: Path, tmp_path: Path) -> None:
    data = chats(*(f"Is it {word}?" for word in "so now then here there true old new mine".split()))
    result = verb("sft", "--model", tiny / "base", "--data", data, "--out", tmp_path / "tuned")
    assert f"chat with it: tutelage chat {tmp_path / 'tuned'}" in result.stdout
    summary = json.loads((tmp_path / "tuned" / "summary.json").read_text())
    assert summary["stages.sft.ledgers.chat.rows_kept"] == 9
    assert summary["stages.sft.steps"] >= 100
    assert summary["evaluate.sft.format.compliant.rate"] == 1
    assert summary["stages.sft.trained_by_dataset.replay.world"] > 0  # the text of the base is known, and replayed
    assert summary["evaluate.sft.forgetting.before"] > 0
    talked = verb("chat", tmp_path / "tuned", stdin="Is it true?\n").stdout
    assert "It is so." in talked
    again = verb("sft", "--model", tiny, "--data", data, "--out", tmp_path / "again", "--epochs", 1)
    assert again.exit_code == 0  # a fine-tuned model too may be fine-tuned
    (tmp_path / "empty.jsonl").write_text("")
    assert "empty" in refused("sft", "--model", tiny, "--data", tmp_path / "empty.jsonl", "--out", tmp_path / "x")


def recipe_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "recipe.json").read_text())


def test_any_other_setting_of_the_recipe_is_given_by_its_name(
    verb: Verb, base: Path, tales: Path, tmp_path: Path
) -> None:
    command = ["sft", "--model", base, "--data", tales.parent / "chat.jsonl", "--out", tmp_path / "run"]
    settings = ["stages.sft.schedule.kind=cosine", "stages.sft.steps=3", "stages.sft.optimizer.clip=0.5"]
    result = verb(*command, "--warmup", 0, "--lora", 2, "stages.sft.lora.alpha=8.0", *settings)
    assert result.exit_code == 0, result.output
    recipe = recipe_of(tmp_path / "run")
    stage = recipe["stages"]["sft"]
    # An option sets its own setting and leaves those beside it.
    assert (stage["schedule"]["kind"], stage["schedule"]["warmup"]) == ("cosine", 0.0)
    assert (stage["lora"]["rank"], stage["lora"]["alpha"]) == (2, 8.0)
    assert (stage["steps"], stage["epochs"]) == (3, None)
    assert (stage["optimizer"]["kind"], stage["optimizer"]["clip"]) == ("adamw", 0.5)
    assert (stage["train_on"], stage["too_long"]) == ("assistant", "error")
    assert json.loads((tmp_path / "run" / "sft" / "stage.json").read_text())["steps"] == 3


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        (["--epochs", "2"], "stages.sft.epochs=3"),
        (["--warmup", "0"], "stages.sft.schedule.warmup=0.1"),
        (["--replay", "0.1"], "stages.sft.replay=0.2"),
        (["--batch-tokens", "600"], "stages.sft.batch_tokens = 700"),
    ],
)
def test_an_option_and_a_setting_of_the_same_name_are_refused(
    refused: Refused, base: Path, tales: Path, tmp_path: Path, option: list[str], setting: str
) -> None:
    command = ["sft", "--model", base, "--data", tales.parent / "chat.jsonl", "--out", tmp_path / "run"]
    name = setting.partition("=")[0].strip()
    sentence = refused(*command, *option, setting)
    assert sentence == f"{option[0]} and {name} set the same value; give one of the two"
    assert not (tmp_path / "run").exists()


def test_what_an_option_cannot_be_with_a_setting_is_said(
    refused: Refused, base: Path, tales: Path, tmp_path: Path
) -> None:
    command = ["sft", "--model", base, "--data", tales.parent / "chat.jsonl", "--out", tmp_path / "run"]
    assert "epochs = 2 and steps = 3 both say when" in refused(*command, "--epochs", 2, "stages.sft.steps=3")
    assert "lora is trained with AdamW" in refused(*command, "--lora", 4, "stages.sft.optimizer.kind=muon")


def test_weights_that_were_kept_are_chatted_with_and_trained_further(
    verb: Verb, refused: Refused, base: Path, tales: Path, tmp_path: Path
) -> None:
    data, out = tales.parent / "chat.jsonl", tmp_path / "run"
    settings = ["stages.sft.steps=5", "stages.sft.save_every=2", "stages.sft.keep_checkpoints=1"]
    assert verb("sft", "--model", base, "--data", data, "--out", out, *settings).exit_code == 0
    assert [path.name for path in out.glob("sft@*")] == ["sft@4"]
    talked = json.loads(verb("chat", out / "sft@4", "--json", stdin="who sees the cat?\n").stdout)
    assert talked[0]["assistant"]
    made = verb("sft", "--model", out / "sft@4", "--data", data, "--out", tmp_path / "more", "stages.sft.steps=1")
    assert made.exit_code == 0, made.output
    recipe = recipe_of(tmp_path / "more")
    assert recipe["stages"]["base"]["path"] == str((out / "sft@4").resolve())
    for command in (
        ["chat", out / "sft@3"],
        ["sft", "--data", data, "--out", tmp_path / "x", "--model", out / "sft@3"],
    ):
        assert refused(*command) == f"{out} has no weights of step 3 of 'sft' (kept: 4)"
