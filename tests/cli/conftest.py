from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tutelage
from tutelage import progress
from tutelage.cli import main
from tutelage.config import recipes_folder

Verb = Callable[..., Result]
Refused = Callable[..., str]
Process = Callable[..., subprocess.CompletedProcess[str]]
Chats = Callable[..., Path]


@pytest.fixture(autouse=True)
def automatic_progress() -> Iterator[None]:
    """A verb sets for the whole process how progress is shown, and all verbs here share one."""
    yield
    progress.set_mode("auto")


@pytest.fixture(scope="session")
def verb() -> Verb:
    """A verb in this process, before a terminal of 120 columns."""

    def call(*arguments: object, stdin: str = "") -> Result:
        return CliRunner(env={"COLUMNS": "120"}).invoke(main, [str(argument) for argument in arguments], input=stdin)

    return call


@pytest.fixture(scope="session")
def refused(verb: Verb) -> Refused:
    """The one sentence that a wrong command gives."""

    def call(*arguments: object, status: int = 1) -> str:
        result = verb(*arguments)
        assert result.exit_code == status, result.output
        assert isinstance(result.exception, SystemExit)
        *before, last = result.stderr.splitlines()
        assert not any(line.startswith("tutelage: ") for line in before)
        assert "Traceback" not in result.output
        assert result.stdout == ""
        assert last.startswith("tutelage: ")
        return last.removeprefix("tutelage: ")

    return call


@pytest.fixture(scope="session")
def process() -> Process:
    """A verb in a process of its own, where streams, limits and signals are real."""

    def call(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(tutelage.__file__).parents[1])}
        command = [sys.executable, *(["-m", "tutelage"] if arguments[0] != "-c" else []), *map(str, arguments)]
        return subprocess.run(command, env=environment, text=True, **{"capture_output": True, **options})

    return call


@pytest.fixture(scope="session")
def made(verb: Verb, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of one whole tiny run, and what the command that made it said."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    result = verb("run", recipes_folder() / "tiny.toml", f"out={folder}")
    progress.set_mode("auto")
    return folder, result


@pytest.fixture(scope="session")
def tiny(made: tuple[Path, Result]) -> Path:
    """The folder of that run; to be read only."""
    return made[0]


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run that a test may break."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.fixture
def chats(tmp_path: Path) -> Chats:
    """Writes a file of conversations, in which every answer is the same."""

    def written(*questions: str, broken: bool = False) -> Path:
        rows = [json.dumps({"prompt": question, "completion": "It is so."}) for question in questions]
        (tmp_path / "mine.jsonl").write_text("\n".join(["{broken"] * broken + rows) + "\n")
        return tmp_path / "mine.jsonl"

    return written
