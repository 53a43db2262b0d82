from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import tutelage
from tutelage.cli import main
from tutelage.config import recipes_folder

CHECKOUT = Path(tutelage.__file__).parents[1]
PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SLOW = {
    "fine-tuning.md",
    "curation.md",
    "lora.md",
    "rl.md",
    "moe.md",
    "scale.md",
}  # others show in the fast tests that pages run
RUNNER = {"sh": ["sh", "-e", "-c"], "python": [sys.executable, "-c"]}


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the code of every block to be run; other blocks are output or pictures."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def options_of(command: click.Command) -> set[str]:
    """The options of a command, or of all commands of a group."""
    commands = [*command.commands.values()] if isinstance(command, click.Group) else [command]
    return {option for each in commands for param in each.params for option in param.opts}


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


def test_the_readme_and_the_pages_use_options_that_exist() -> None:
    """Every `tutelage COMMAND ... --option` of a block: README's commands need models and data that are not here."""
    known = {name: options_of(command) for name, command in main.commands.items()}
    seen = 0
    for page in (CHECKOUT / "README.md", *PAGES):
        for _, code in blocks(page):
            for line in re.findall(r"^tutelage .*", code.replace("\\\n", " "), re.MULTILINE):
                name, *words = shlex.split(line, comments=True)[1:]
                options = {word.partition("=")[0] for word in words if word.startswith("--")}
                assert options <= known[name] | {"--help", "--version"}, f"{page.name}: {line}"
                seen += 1
    assert seen > 50


def test_options_named_beside_those_of_other_tools_exist() -> None:
    """docs/coming-from.md: the last column of its tables."""
    known = {option for command in main.commands.values() for option in options_of(command)}
    rows = [
        line.split("|")[-2] for line in (CHECKOUT / "docs" / "coming-from.md").read_text().splitlines() if "|" in line
    ]
    named = {option for row in rows for option in re.findall(r"`(--[a-z-]+)", row)}
    assert {"--lora", "--batch-rows", "--track"} <= named
    assert named <= known | {"--nproc-per-node"}
    settings = {name for row in rows for name in re.findall(r"`stages\.sft\.([a-z_]+)", row)}
    page = (CHECKOUT / "docs" / "settings.md").read_text()
    assert settings and all(f"`{name}`" in page for name in settings)


def test_the_readme_fits_and_opens_with_a_fine_tune_of_a_published_model() -> None:
    lines = (CHECKOUT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    first_screen = "\n".join(lines[:30])
    assert "make setup" in first_screen
    assert "tutelage sft --model $MODEL" in first_screen
