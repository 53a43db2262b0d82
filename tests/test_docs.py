from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tutelage
from tutelage.config import recipes_folder

CHECKOUT = Path(tutelage.__file__).parents[1]
PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SLOW = {"fine-tuning.md", "curation.md", "lora.md", "rl.md"}  # others show in the fast tests that pages run
RUNNER = {"sh": ["sh", "-e", "-c"], "python": [sys.executable, "-c"]}


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the code of every block to be run; other blocks are output or pictures."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.timeout(900)  # a page is several runs
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=pytest.mark.slow if page.name in SLOW else ())
        for page in PAGES
        if blocks(page)
    ],
)
def test_every_command_of_a_page_works(page: Path, tmp_path: Path) -> None:
    """In order and in one folder, as a reader would type them."""
    shutil.copytree(recipes_folder(), tmp_path / "recipes")
    command = tmp_path / "bin" / "tutelage"  # the tutelage that is tested, wherever another may be installed
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tutelage "$@"\n')
    command.chmod(0o700)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "OMP_NUM_THREADS": "1",
    }
    output = ""
    for language, code in blocks(page):
        done = subprocess.run(
            [*RUNNER[language], code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        output += done.stdout + done.stderr
        assert done.returncode == 0, f"{page.name}:\n{code}\n{done.stdout}{done.stderr}"
    for shown in re.findall(r"^```text\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        assert shown in output, f"{page.name} shows what no command says: {shown}"


def test_the_walk_is_run() -> None:
    languages = [language for language, _ in blocks(CHECKOUT / "docs" / "first-steps.md")]
    assert languages.count("python") == 1
    assert languages.count("sh") >= 6
