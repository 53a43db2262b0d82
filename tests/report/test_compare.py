from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tutelage.files import read_json, to_json, write_json
from tutelage.report.compare import compare, verdict
from tutelage.report.compare_page import compare_page
from tutelage.report.terminal import print_comparison
from tutelage.runner import Run

MakeRun = Callable[..., Run]
Results = Callable[..., dict[str, dict[str, Any]]]


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "expected"),
    [
        (0.1, 0.2, False, "better"),
        (0.1, 0.2, True, "worse"),
        (-0.2, -0.1, False, "worse"),
        (-0.2, -0.1, True, "better"),
        (-0.1, 0.1, False, "no difference shown"),
        (0.0, 0.2, False, "no difference shown"),
        (-0.2, 0.0, True, "no difference shown"),
        (0.0, 0.0, True, "no difference shown"),
    ],
)
def test_better_and_worse_need_an_interval_that_excludes_zero(
    low: float, high: float, lower_is_better: bool, expected: str
) -> None:
    assert verdict(low, high, lower_is_better) == expected


def test_two_runs_are_compared(make_run: MakeRun, make_results: Results) -> None:
    first = make_run("first")
    changes = {"stages.chat.replay": 0.0, "model.depth": 2}
    second = make_run("second", changes, make_results(compliant=99, held_out=72, hallucinated=20, after=1.5))
    found = compare(first.folder, second.folder)
    assert found["settings"] == {
        "model.depth": {"first": 1, "second": 2},
        "stages.chat.replay": {"first": 0.5, "second": 0.0},
    }
    assert list(found["stages"]) == ["base", "chat"]
    chat = found["stages"]["chat"]
    verdicts = {name: of["paired"]["verdict"] for name, of in chat["rates"].items() if "paired" in of}
    assert verdicts == {
        "format.compliant": "better",
        "knowledge.held_out": "no difference shown",
        "knowledge.held_out.reversal": "no difference shown",
        "knowledge.unknown.hallucinated": "better",  # it hallucinates less
    }
    assert chat["rates"]["format.compliant"]["paired"]["difference"] == pytest.approx(0.09)
    assert chat["rates"]["format.compliant"]["paired"]["count"] == 100
    loss = chat["losses"]["world"]
    assert loss["paired"]["change"] == pytest.approx(1.5 / 1.2 - 1)
    assert loss["paired"]["verdict"] == "worse"
    assert (loss["first"], loss["second"]) == pytest.approx((1.2 * 186 / 546, 1.5 * 186 / 546))
    assert chat["figures"]["forgetting.world.increase"] == {"first": pytest.approx(0.2), "second": pytest.approx(0.5)}
    assert chat["costs"]["parameters"] == {"first": 1_049_728, "second": 1_049_728}
    assert found["stages"]["base"]["rates"] == {}
    to_json(found)


def test_a_run_is_not_better_than_itself(make_run: MakeRun) -> None:
    folder = make_run().folder
    found = compare(folder / "chat", folder / "chat")
    chat = found["stages"]["chat"]
    paired = [of["paired"] for of in (*chat["rates"].values(), *chat["losses"].values()) if "paired" in of]
    assert len(paired) == 5
    assert {of["verdict"] for of in paired} == {"no difference shown"}
    assert found["settings"] == {}


def test_only_what_both_were_asked_is_compared(make_run: MakeRun, make_results: Results) -> None:
    few = make_results()
    few["format"]["outcomes"]["compliant"] = [("item 5", 1), ("item 95", 1), ("asked of nobody else", 0), ("item 5", 0)]
    found = compare(make_run("first").folder, make_run("second", found=few).folder)
    paired = found["stages"]["chat"]["rates"]["format.compliant"]["paired"]
    # "item 5" comes twice in one and once in the other: its second time is an item that the other was not asked.
    assert (paired["count"], paired["difference"]) == (2, 0.5)


def test_questions_about_another_world_are_not_the_same_questions(make_run: MakeRun, make_results: Results) -> None:
    other = make_run("second", {"data.world.seed": 7}, make_results(compliant=99, held_out=99))
    rates = compare(make_run("first").folder, other.folder)["stages"]["chat"]["rates"]
    assert "paired" not in rates["knowledge.held_out"]
    assert rates["format.compliant"]["paired"]["verdict"] == "better"


def test_losses_on_other_text_are_not_compared(make_run: MakeRun, make_results: Results) -> None:
    other, few = make_results(after=2.0), make_results(after=2.0)
    other["forgetting"]["outcomes"]["world"][3] = ("3", 13.0, 26.0, 44)
    del few["forgetting"]["outcomes"]["world"][9:]
    first = make_run("first").folder
    assert compare(first, make_run("other", found=other).folder)["stages"]["chat"]["losses"] == {}
    assert compare(first, make_run("few", found=few).folder)["stages"]["chat"]["losses"] == {}


def test_two_stages_of_one_run(make_run: MakeRun) -> None:
    again = {"kind": "sft", "from": "base", "data": {"chat": 1}, "steps": 20}
    folder = make_run(changes={"stages.again": again}, stages=("base", "chat", "again")).folder
    found = compare(folder / "chat", folder / "again")
    assert list(found["stages"]) == ["chat and again"]
    assert found["settings"] == {
        "stage.evaluate_every": {"first": 10, "second": 0},
        "stage.replay": {"first": 0.5, "second": 0.0},
    }


def test_stages_that_only_one_run_has_are_named_and_no_more(make_run: MakeRun) -> None:
    again = {"kind": "sft", "from": "base", "data": {"chat": 1}, "steps": 20}
    first, second = make_run("first"), make_run("second", {"stages.again": again, "evaluate.again": ["format"]})
    assert compare(first.folder, second.folder)["settings"] == {
        "names of stages": {"first": ["base", "chat"], "second": ["again", "base", "chat"]}
    }


def test_what_cannot_be_compared_is_said(make_run: MakeRun, tmp_path: Path) -> None:
    run, half = make_run("run").folder, make_run("half", stages=()).folder
    with pytest.raises(ValueError, match="neither a run nor a finished stage"):
        compare(run, tmp_path)
    with pytest.raises(ValueError, match="are a run and a stage; give two runs"):
        compare(run, run / "chat")
    with pytest.raises(ValueError, match="no finished stage of the same name"):
        compare(run, half)
    plain = read_json(run / "recipe.json")
    write_json(run / "recipe.json", plain | {"stages": {"base": plain["stages"]["base"]}})
    with pytest.raises(ValueError, match="no stage 'chat' any more"):
        compare(run / "chat", run / "chat")
    write_json(run / "recipe.json", {"name": "x"})
    with pytest.raises(ValueError, match=r"recipe\.json is not a recipe"):
        compare(run, run)


def test_the_page_and_the_terminal_show_it(make_run: MakeRun, make_results: Results) -> None:
    second = make_run("second", {"stages.chat.replay": 0.0}, make_results(compliant=99, after=1.5))
    found = compare(make_run("first").folder, second.folder)
    page = compare_page(found)
    text = " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL).split())
    assert "Of 5 comparisons the second is better in 1 and worse in 1 ;" in text
    assert "+9.0" in text
    assert "stages.chat.replay" in text
    console = Console(file=io.StringIO(), width=200, color_system=None)
    print_comparison(found, console)
    assert isinstance(console.file, io.StringIO)
    shown = [" ".join(line.replace("│", " ").split()) for line in console.file.getvalue().splitlines()]
    assert any(re.fullmatch(r"keeps the chat format 90.0% 99.0% \+9.0 \(.*\) better, p \.\d+", line) for line in shown)
    assert any(re.fullmatch(r"bits per byte on held-out text 'world' .* worse", line) for line in shown)
    assert "stages.chat.replay 0.5 0.0" in shown
    print_comparison(compare(second.folder, second.folder), console)
    assert "no setting differs" in console.file.getvalue()
