from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tutelage.cli import main


def as_process(rank: int, local_rank: int, *arguments: object) -> Result:
    """A verb as `torchrun` starts it, as one of four processes, two to a machine."""
    started = {"RANK": str(rank), "LOCAL_RANK": str(local_rank), "WORLD_SIZE": "4"}
    environment = started | {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    return CliRunner(env=environment).invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["run", "none.toml"], 1, "tutelage: there is no file none.toml; check the path\n"),
        (["run", "--onyl", "chat"], 2, "Error: No such option '--onyl'."),
        (["rnu"], 2, "Error: No such command 'rnu'."),
    ],
)
def test_what_all_processes_meet_is_said_once_on_each_machine(
    arguments: list[str], status: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = [as_process(rank, rank % 2, *arguments) for rank in range(4)]
    assert [result.exit_code for result in results] == [status] * 4
    assert [sentence in result.stderr for result in results] == [True, False, True, False]
    assert [result.output for result in results[1::2]] == ["", ""]


def test_what_an_audit_before_training_finds_is_said_once(tales: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Is {n} a number, or is it not?", "completion": "N/A"} for n in range(4)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["sft", "--model", tmp_path / "none", "--data", tmp_path / "mine.jsonl", "--out", tmp_path / "run"]
    assert as_process(0, 0, *command).output != ""
    assert as_process(1, 1, *command).output == ""


def test_help_fits_eighty_columns_and_cuts_no_verb_off() -> None:
    runner = CliRunner(env={"COLUMNS": "80"})
    assert "DIR.md" in runner.invoke(main, ["lab", "--help"]).stdout
    whole = runner.invoke(main, ["--help"]).stdout
    assert "..." not in whole.partition("Commands:")[2]
    for name in main.commands:
        shown = runner.invoke(main, [name, "--help"]).stdout
        assert shown.startswith("Usage: ")
        assert max(map(len, shown.splitlines())) <= 80
        assert all(option.help for option in main.commands[name].params if isinstance(option, click.Option)), name
