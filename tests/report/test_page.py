from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_recipe import run_quietly, write_tiny_recipe

from tutelage.recipe import load_recipe
from tutelage.report.page import report_page, write_report
from tutelage.report.read import read_run
from tutelage.runner import Run

MakeRun = Callable[..., Run]
SECTIONS = ["What the models can do", "Before and after", "Training", "Ledger", "Cost", "Recipe"]
VOID = {"br", "meta", "wbr", "hr", "img", "input"}


def headings(page: str) -> list[str]:
    return [found[1] for found in re.finditer(r"<h2>(.*?)<a class", page)]


def words(page: str) -> str:
    """The visible text of a page."""
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL).split())


class Nesting(HTMLParser):
    """Raises where a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_the_whole_run(make_run: MakeRun) -> None:
    path = write_report(make_run())
    page = path.read_text()
    assert path.name == "report.html"
    assert headings(page) == SECTIONS
    text = words(page)
    assert "keeps the chat format on 90.0% of 100 unseen prompts (82.6% to 94.5%)" in text
    assert "answers 70.0% of the questions about people it only read about (60.4% to 78.1%)" in text
    assert "It forgot: its loss on the base model's text rose by 20.0% (15.0% to 25.0%)." in text.replace("&#x27;", "'")
    assert "more than a tenth" in text
    assert "✓ in format" in text
    assert "✕ not in format" in text
    assert "reference in the data She is &lt;Bea&gt;. chat answers Ann." in " ".join(
        text.replace("✓ in format ", "").split()
    )
    assert "replayed text 50%" in text
    assert "stages.chat.replay=0.5" in text
    nesting = Nesting()
    nesting.feed(page)
    assert nesting.open == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_stages_that_were_asked_only_trained_prompts_are_named(
    make_run: MakeRun, make_results: Callable[..., dict[str, dict[str, Any]]]
) -> None:
    found = make_results()
    rates = found["format"]["rates"]
    rates["prompts.seen"] = rates.pop("prompts.near")
    text = words(write_report(make_run(found=found)).read_text())
    assert "keeps the chat format on 90.0% of 100 prompts it was trained on" in text
    assert "chat: only prompts it was trained on; there are no others." in text


def test_what_models_write_stays_text(make_run: MakeRun) -> None:
    page = write_report(make_run()).read_text()
    assert "Who is &lt;b&gt;she&lt;/b&gt;?" in page
    assert "<b>" not in page


def test_what_is_not_there_is_left_out(make_run: MakeRun) -> None:
    bare = write_report(make_run("bare", found={})).read_text()
    assert headings(bare) == ["Training", "Ledger", "Cost", "Recipe"]
    assert "has a held-out loss of 0.750 nats per token" in words(bare)
    half = write_report(make_run("half", stages=("base",))).read_text()
    assert "not finished" in words(half)
    assert headings(half) == ["Training", "Ledger", "Cost", "Recipe"]
    nothing = write_report(make_run("nothing", stages=())).read_text()
    assert "No stage of this run is finished yet." in words(nothing)


def test_several_stages_of_one_base_model_are_shown_side_by_side(make_run: MakeRun) -> None:
    run = make_run(changes={"stages.again": {"kind": "sft", "from": "base", "data": {"chat": 1}, "steps": 20}})
    stages = read_run(run)
    again = replace(stages["chat"], info=msgspec.structs.replace(stages["chat"].info, name="again"))
    page = report_page(run, {**stages, "again": again})
    exchange = page.split('class="exchange"')[1]
    for name in ("base", "chat", "again"):
        assert f"<strong>{name}</strong>" in exchange


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A real run of a step or two."""
    folder: Path = tmp_path_factory.mktemp("report")
    chat = 'replay = 0.5\nsteps = 2\nbatch_tokens = 512\nkeep = "last"'
    recipe = write_tiny_recipe(folder, "steps = 1\nbatch_tokens = 512", chat)
    return run_quietly(Run(load_recipe(recipe), folder / "run"))


def test_a_real_run_shows_a_trained_row(trained: Run) -> None:
    page = write_report(trained).read_text()
    assert headings(page) == ["Training", "What was trained", "Ledger", "Cost", "Recipe"]
    row = page.split("What was trained<a")[1].split("<section")[0]
    conversation, text = row.split("A text, every token trained")
    turns = dict(re.findall(r'<div class="turn (\w+)">(.*?)</div>', conversation, re.DOTALL))
    assert 'class="trained' in turns["assistant"]
    assert 'class="trained' not in turns["user"]
    assert text.count('class="trained') > text.count("<span") * 0.9


def test_without_the_model_it_started_from_there_is_no_row(trained: Run) -> None:
    config = trained.folder / "base" / "config.json"
    kept = config.read_bytes()
    config.unlink()
    try:
        assert "What was trained" not in headings(write_report(trained).read_text())
    finally:
        config.write_bytes(kept)
