from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import tutelage
from tutelage.config import recipes_folder

Verb = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]

TINY = recipes_folder() / "tiny.toml"
QUICK = ["stages.base.steps=3", "stages.chat={kind='sft',from='base',data={chat=1},steps=2,too_long='split'}"]
VERBS = ["run", "demo", "plan", "sft", "look", "doctor", "evaluate", "chat"]


def test_run_does_everything_and_shows_it(made: tuple[Path, Result]) -> None:
    folder, result = made
    assert result.exit_code == 0, result.output
    for words in (
        "held-out people, one-step questions",
        "keeps the chat format",
        "chat on text that it was not fine-tuned on: ",
    ):
        assert words in result.stdout
    assert result.stdout.endswith(f"all figures: {folder / 'summary.json'}\n")
    assert "chat: 15/15 steps" in result.stderr
    summary = json.loads((folder / "summary.json").read_text())
    assert {"evaluate.chat.knowledge.held_out.low", "evaluate.chat.format.compliant.rate", "seconds"} <= summary.keys()


def test_run_again_skips_everything(verb: Verb, copy: Path) -> None:
    result = verb("run", TINY, f"out={copy}")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == ["base: finished before, skipped", "chat: finished before, skipped"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["run", TINY, "out={}"], {"name", "seconds", "stages.chat.loss"}),
        (["plan", TINY, "out={}"], {"stages", "seconds", "peak_bytes"}),
        (["look", "{}/chat"], None),
        pytest.param(
            ["evaluate", "{}/chat"],
            {"evaluate.chat.format.compliant.rate", "evaluate.chat.knowledge.held_out.rate"},
            marks=pytest.mark.slow,
        ),
        (["chat", "{}/chat"], None),
    ],
)
def test_json_is_one_document_and_json_lines(
    verb: Verb, copy: Path, arguments: list[object], names: set[str] | None
) -> None:
    shutil.rmtree(copy / "chat" / "evaluate")  # so that evaluating has progress to tell
    filled = [str(argument).replace("{}", str(copy)) for argument in arguments]
    result = verb(*filled, "--json", stdin="hello\n")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert names <= document.keys() if names else isinstance(document, list)
    assert all("event" in json.loads(line) for line in result.stderr.splitlines())


def test_plan_before_and_after(verb: Verb, tiny: Path, tmp_path: Path) -> None:
    before, after = (verb("plan", TINY, f"out={out}").stdout for out in (tmp_path / "none", tiny))
    assert before.count("to do ") == 2
    assert after.count("done │") == 2
    assert "to do: about 0.0 s" in after
    assert not (tmp_path / "none").exists()


def test_evaluate_measures_what_is_missing_and_keeps_the_runs_time(verb: Verb, copy: Path) -> None:
    before = json.loads((copy / "summary.json").read_text())
    (copy / "chat" / "evaluate" / "forgetting.json").unlink()
    result = verb("evaluate", copy / "chat")
    assert result.exit_code == 0
    assert "chat on text that it was not fine-tuned on: " in result.stdout
    after = json.loads((copy / "summary.json").read_text())
    assert after["seconds"] >= before["seconds"]
    same = [name for name in before if name.startswith("evaluate.")]
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_demo_is_the_recipe_that_comes_with_it(verb: Verb, tmp_path: Path) -> None:
    small = [
        "model.depth=1",
        "model.width=32",
        "tokenizer.vocab=400",
        "data.world.people=20",
        "data.world.versions=1",
        *("stages.base={kind='pretrain',data={world=1},steps=2}", QUICK[1], "evaluate={}"),
    ]
    result = verb("demo", *small, f"out={tmp_path / 'demo'}")
    assert result.exit_code == 0, result.output
    assert f"chat with it: tutelage chat {tmp_path / 'demo' / 'chat'}" in result.stdout.replace("\n", "")


def test_a_chat_from_the_first_word_to_the_last(verb: Verb, tiny: Path) -> None:
    result = verb("chat", tiny / "chat", stdin="1\n/new\nWhere was Nora Abernel Sparrow born?\n/quit\nmore\n")
    assert result.exit_code == 0, result.output
    assert "Questions about people whom no training question named:" in result.stdout
    assert "measured: right about one fact of people it only read about" in result.stdout
    assert ": the true answer is " in result.stdout
    assert "forgotten; a new conversation begins" in result.stdout
    assert "the truth about Nora Abernel Sparrow: birthplace " in result.stdout
    assert result.stdout.count("> ") == 4  # nothing is read after /quit


def test_a_chat_as_json_is_what_was_said(verb: Verb, tiny: Path) -> None:
    result = verb("chat", tiny / "chat", "--json", stdin="hello\n1")
    said = json.loads(result.stdout)
    assert [set(exchange) for exchange in said] == [{"user", "assistant"}, {"user", "assistant", "truth"}]
    assert said[0]["user"] == "hello"


def test_a_byte_that_is_no_text_does_not_end_a_chat(tiny: Path) -> None:
    command = [sys.executable, "-m", "tutelage", "chat", str(tiny / "chat"), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(tutelage.__file__).parents[1]), "PYTHONUTF8": "1"}
    result = subprocess.run(command, input=b"caf\xe9\n", capture_output=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["user"] == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in VERBS)])
def test_help_says_what_a_verb_does(verb: Verb, arguments: list[str]) -> None:
    result = verb(*arguments, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    for word in ["--json", "--debug"] if arguments else VERBS:
        assert word in result.stdout


def test_help_imports_nothing_heavy(process: Process) -> None:
    code = """
import sys
from tutelage.cli import main
for arguments in (["--help"], ["run", "--help"], ["--version"]):
    main(arguments, standalone_mode=False)
print(sorted({"torch", "transformers", "numpy", "rich", "tokenizers"} & sys.modules.keys()))
"""
    assert process("-c", code).stdout.splitlines()[-1] == "[]"


def forget(run: Path, low: float) -> None:
    """Let the run's measured forgetting be 30%, at least `low`."""
    measured = run / "chat" / "evaluate" / "forgetting.json"
    stored = json.loads(measured.read_text())
    figures = stored["results"]["figures"]
    assert list(figures["by_data"]) == ["world"]
    for forgetting in (figures, figures["by_data"]["world"]):
        forgetting |= {"increase": 0.3, "low": low, "high": 0.4}
    measured.write_text(json.dumps(stored))


def test_the_doctor_examines_a_run_or_a_stage(verb: Verb, tiny: Path, copy: Path) -> None:
    assert json.loads(verb("doctor", tiny, "--json").stdout) == []
    forget(copy, 0.2)
    whole = json.loads(verb("doctor", copy, "--json").stdout)
    one = json.loads(verb("doctor", copy / "chat", "--json").stdout)
    assert [found for found in whole if found["stage"] == "chat"] == one
    assert [found["name"] for found in one] == ["base-forgotten"]
    assert set(one[0]) == {"name", "stage", "symptom", "cause", "fix", "evidence", "settings", "verdict"}
    shown = verb("doctor", copy).stdout
    for found in whole:
        assert f"{found['stage']}: {found['symptom']} ({found['name']})" in shown
    assert "Diagnosis" in (tiny / "report.html").read_text()


@pytest.mark.parametrize(("low", "status"), [(0.2, 3), (0.05, 0)])
def test_a_run_that_forgot_too_much_ends_with_status_3_when_all_is_written(
    verb: Verb, copy: Path, low: float, status: int
) -> None:
    forget(copy, low)
    result = verb("run", TINY, f"out={copy}", "stages.chat.max_forgetting=0.1", "--json")
    assert result.exit_code == status
    assert json.loads(result.stdout)["evaluate.chat.forgetting.low"] == low
    assert json.loads((copy / "summary.json").read_text()) == json.loads(result.stdout)
    said = [json.loads(line) for line in result.stderr.splitlines() if '"error"' in line]
    assert [line["message"].partition(":")[0] for line in said] == ["chat forgets too much"] * (status == 3)
