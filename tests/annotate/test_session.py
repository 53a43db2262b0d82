"""The commands: a server over a log, who may use it, and models that answer."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from annotate_helpers import items, post
from click.testing import CliRunner

from tutelage.annotate.events import LogSettings, PromptTurn
from tutelage.annotate.items import make_item
from tutelage.annotate.log import read_log
from tutelage.annotate.models import ask_model
from tutelage.annotate.session import Access, annotator_keys, invitations, run_session
from tutelage.annotate.state import read_events
from tutelage.cli import main
from tutelage.engine.sampling import SamplingSettings
from tutelage.runner import Run

RANK = LogSettings(task="rank")


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_rank_command_serves_until_it_is_stopped_and_continues(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": f"{n}?", "answers": ["x", "y"], "models": ["m", "n"]} for n in range(2)]
    answers, log = write(tmp_path / "answers.jsonl", rows), tmp_path / "ranks.jsonl"
    command = [sys.executable, "-m", "tutelage", "annotate", "rank", "--answers", str(answers), "--out", str(log)]
    for number in range(2):
        with subprocess.Popen(
            [*command, "--port", "0", "--overlap", "2", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            found = re.search(r"http://\S+/", process.stderr.readline())
            assert found is not None
            asked = post(found[0], "next", {"person": "ann"}).json()
            assert (asked["number"], asked["progress"]["done"]) == (number, number)
            submission = {"id": f"vote-number-{number}", "number": number, "revision": 0, "ranks": [1, 2]}
            assert post(found[0], "submit", {"person": "ann", "submission": submission}).json()["revision"] == 1
            process.send_signal(signal.SIGINT)
            summary = json.loads(process.stdout.read())
            assert process.wait(30) == 0
        assert (summary["items"], summary["submissions"]) == (2, number + 1)
    state = read_events(read_log(log))
    assert state.settings.overlap == 2
    assert len(read_log(log)) == 1 + 2 + 2 + 2  # settings and items are there once


def test_a_log_without_the_item_of_a_vote_is_one_sentence(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", [{"event": "submitted", "id": "vote-12345", "item": "gone", "person": "ann"}])
    result = CliRunner().invoke(main, ["annotate", "report", str(log)])
    assert result.exit_code == 1
    assert "the log lacks item gone, which ann has" in result.output


def test_others_may_reach_the_server_only_with_a_key_each(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with pytest.raises(ValueError, match="name each annotator with --annotator"):
        run_session(log, RANK, lambda state: items(1), Access(host="0.0.0.0"), print)
    keys = annotator_keys(log, ["ann", "ben"])
    assert len({*keys.values()}) == 2 and min(map(len, keys.values())) > 20
    again = annotator_keys(log, ["ben", "cem"])
    assert again["ben"] == keys["ben"]  # the link that ben has still works
    assert annotator_keys(log, ["ann"]) == {"ann": keys["ann"]}
    assert (tmp_path / "log.jsonl.keys").stat().st_mode & 0o077 == 0
    lines = invitations("http://10.0.0.1:8002/", keys)
    assert lines[0] == f"ann: http://10.0.0.1:8002/#key={keys['ann']}"  # after #: sent to no server, and in no log


def test_a_log_of_another_task_and_a_log_without_items_are_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with pytest.raises(ValueError, match="has no items"):
        run_session(log, RANK, lambda state: [], Access(), print)
    with pytest.raises(ValueError, match="is a log of `annotate rank`"):
        run_session(log, LogSettings(task="write"), lambda state: items(1), Access(), print)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["rank"], "give either PROMPTS"),
        (["rank", "p.jsonl", "--models", "a"], "2 to 9 different ones"),
        (["rank", "p.jsonl", "--models", "a,a"], "2 to 9 different ones"),
        (["choose", "a", "--prompts", "p.jsonl"], "2 to 9 different ones"),
        (["rank", "p.jsonl", "--models", "a,b"], "p.jsonl"),
    ],
)
def test_wrong_arguments_are_one_sentence(tmp_path: Path, arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(main, ["annotate", *arguments, "--out", str(tmp_path / "log.jsonl")])
    assert result.exit_code == 1
    assert problem in result.output
    assert "Traceback" not in result.output


def test_every_subcommand_has_help_that_fits() -> None:
    group = main.commands["annotate"]
    for name in group.commands:  # type: ignore[attr-defined]
        shown = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["annotate", name, "--help"]).stdout
        assert shown.startswith("Usage: ")
        assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.usefixtures("quiet")
def test_models_answer_the_prompts_of_items(tales_run: Run) -> None:
    asked = [make_item([PromptTurn("user", "who fears the fox?")]), make_item([PromptTurn("user", "what is the sea?")])]
    settings = SamplingSettings(max_tokens=8)
    notes: list[str] = []
    assert len(ask_model(f"{tales_run.folder}/chat", asked, SamplingSettings(max_tokens=2), notes.append)) == 2
    assert re.search("of 2 answers were cut at 2 tokens", notes[0])
    with pytest.raises(ValueError, match="is a base model"):
        ask_model(f"{tales_run.folder}/base", asked, settings, notes.append)
