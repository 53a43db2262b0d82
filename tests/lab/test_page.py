from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

import tutelage
from tutelage import __version__
from tutelage.lab.base_recipe import GUESS
from tutelage.lab.catalogue import FINDINGS, MEASUREMENTS, is_current
from tutelage.lab.discussions import DISCUSSIONS, MODEL_DISCUSSIONS, NEEDS_SCALE
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, IntervalPlot, Line, LinePlot, Table
from tutelage.lab.page import INTRODUCTION, anchor, first_sentence, markdown_table, page_text, write_page
from tutelage.lab.results import FindingResult, StageSummary, read_result, read_results, trained_results, write_result
from tutelage.lab.verdict import Effect
from tutelage.lab.world_rows import demo_world
from tutelage.world.values import ATTRIBUTES

DOCS = Path(tutelage.__file__).parents[1] / "docs"
HALF = Estimate(0.5, 0.4, 0.6)
BARS = IntervalPlot("Bars", "rate", [Bar("one", "", HALF)])
LINES = LinePlot("Lines", "lr", "rate", [Line("a", [0.1, 1.0], [HALF, HALF])], log_x=True)
RESULT = FindingResult(
    number="8",
    name="half-known",
    claim="The claim.",
    source="The source",
    published="The figures.",
    setup="The setup.",
    quick=False,
    recipe='name = "lab"',
    settings={"demo": {"name": "lab"}},
    stages=[StageSummary("demo", "base", 6e-3, 10, 1000, 900.0, 5000, 1.5)],
    table=Table(["method", "accuracy"], [["one|two", HALF]]),
    plots=[BARS],
    primary=[Effect("effect", HALF, [0.5, 0.5, 0.5], [])],
    control=Effect("control", HALF, [0.5], []),
    needed="all",
    verdict="reproduced",
    reason="The reason.",
    command="tutelage lab 8",
    seconds=12.0,
    reused_stages=1,
    version=__version__,
    environment={"python": "3.11", "torch": "2.13", "cpu": "a CPU", "cores": 2, "threads": 1, "device": "cpu"},
)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = msgspec.structs.replace(RESULT, plots=[BARS, LINES])
    path = write_result(tmp_path, result)
    assert path.name == "08-half-known.json"
    assert read_result(path) == result
    assert read_results(tmp_path) == [result]
    assert read_results(tmp_path / "nowhere") == []


def test_a_file_that_is_not_a_result_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "08-half-known.json"
    path.write_text('{"number": "8"}')
    with pytest.raises(ValueError, match=r"08-half-known.json is not a lab result .* remove it"):
        read_results(tmp_path)


def test_the_page_shows_claim_setup_verdict_and_provenance() -> None:
    text = page_text([RESULT], "lab")
    for part in (
        "| [8. Half known](#8-half-known)<br>The claim. | **reproduced**<br>50.0% (40.0 to 60.0) | The figures. |",
        "1 findings: 1 reproduced, 0 not at this scale, 0 contradicted.",
        "## What needs more scale",
        "**Published.** The figures. (The source)",
        "**Setup.** The setup. Command: `tutelage lab 8`.",
        "**Verdict: reproduced.** The reason.",
        "![Bars](lab/08-half-known.svg)",
        "50.0% (40.0 to 60.0)",
        "| base | 0.006 | 10 | 1,000 | 900 |",
        '```toml\nname = "lab"\n```',
        "1 stages were finished already.",
    ):
        assert part in text
    quick = page_text([msgspec.structs.replace(RESULT, quick=True)], "lab")
    assert "reproduced (quick run: no evidence)" in quick


def test_a_table_escapes_bars_and_right_aligns_estimates() -> None:
    assert markdown_table(RESULT.table).splitlines() == [
        "| method | accuracy |",
        "| --- | ---: |",
        "| one\\|two | 50.0% (40.0 to 60.0) |",
    ]


def test_a_result_on_a_checkpoint_stands_under_its_finding_and_keeps_its_own_files(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    on_model = msgspec.structs.replace(
        RESULT, model="Tiny-1B", verdict="contradicted", stages=[], recipe="", settings={}, seconds=120.0
    )
    other = msgspec.structs.replace(RESULT, number="N1", name="other")
    for result in (on_model, other, RESULT):
        write_result(folder, result)
    assert [(result.number, result.model) for result in read_results(folder)] == [
        ("8", ""), ("8", "Tiny-1B"), ("N1", ""),
    ]  # fmt: skip
    assert trained_results(folder) == {"8": RESULT, "N1": other}
    text = write_page(folder).read_text(encoding="utf-8")
    assert {path.name for path in folder.glob("*.svg")} == {
        "08-half-known.svg", "08-half-known-model.svg", "N01-other.svg",
    }  # fmt: skip
    for part in (
        "2 findings: 2 reproduced, 0 not at this scale, 0 contradicted. "
        "Measured on a published checkpoint: 0 reproduced, 0 not at this scale, 1 contradicted.",
        "| [8. Half known, on Tiny-1B](#8-half-known-on-tiny-1b)<br>The claim. | **contradicted**",
        "| The figures. | 2 min |",
        "### 8. Half known, on Tiny-1B",
        "took 2 min 00 s of processor time.",
    ):
        assert part in text
    assert text.index("## 8. Half known\n") < text.index("### 8. Half known, on Tiny-1B\n") < text.index("## N1. Other")
    assert text.count("Stages and recipe") == 2  # a checkpoint is not trained here


def test_plots_of_replaced_results_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "lab"

    def pictures() -> list[str]:
        write_page(folder)
        return sorted(path.name for path in folder.glob("*.svg"))

    write_result(folder, msgspec.structs.replace(RESULT, plots=[BARS, LINES]))
    assert pictures() == ["08-half-known-1.svg", "08-half-known-2.svg"]
    write_result(folder, RESULT)
    assert pictures() == ["08-half-known.svg"]
    assert (folder / "08-half-known.svg").read_text().startswith("<svg ")
    assert (tmp_path / "lab.md").read_text() == page_text([RESULT], "lab")


def test_the_page_explains_missing_numbers() -> None:
    assert "Findings that are missing here are not replicated yet" in page_text([RESULT], "lab")


def test_the_published_page_matches_the_published_results() -> None:
    results = read_results(DOCS / "lab")
    page = DOCS / "lab.md"
    assert not any(result.quick for result in results)
    if results:
        assert page.read_text(encoding="utf-8") == page_text(results, "lab")


def test_the_table_at_the_top_shows_the_first_sentence_of_what_was_published() -> None:
    assert first_sentence("From 9.7% (guess 2.7%) to 96.6%. Other text.") == "From 9.7% (guess 2.7%) to 96.6%."
    assert first_sentence("ChatCORE .355 -> .315.") == "ChatCORE .355 -> .315."
    assert anchor("N8. Style locking") == "n8-style-locking"


def test_the_page_states_chance_and_the_majority_guess_of_the_demo() -> None:
    people = list(demo_world().people("held_out"))
    counts = [Counter(person.facts[name] for person in people).most_common(1)[0][1] for name in ATTRIBUTES]
    majority = sum(counts) / len(people) / len(ATTRIBUTES)
    text = " ".join(INTRODUCTION.split())
    assert f"is right in {GUESS:.1%}, 1 of 32 values" in text
    assert f"is right in {majority:.1%}." in text


def test_every_contradicted_finding_is_discussed() -> None:
    contradicted = [result for result in read_results(DOCS / "lab") if result.verdict == "contradicted"]
    assert all(result.number in (MODEL_DISCUSSIONS if result.model else DISCUSSIONS) for result in contradicted)
    assert set(DISCUSSIONS) <= set(FINDINGS)
    assert set(MODEL_DISCUSSIONS) <= set(MEASUREMENTS) <= set(FINDINGS)
    wanting = msgspec.structs.replace(RESULT, number=NEEDS_SCALE[0].number)
    assert NEEDS_SCALE[0].needs in page_text([RESULT], "lab")
    assert NEEDS_SCALE[0].needs not in page_text([wanting], "lab")  # once there is a result
    number = next(iter(DISCUSSIONS))
    text = page_text([msgspec.structs.replace(RESULT, number=number)], "lab")
    assert f"**Discussion.** {DISCUSSIONS[number]}" in text


def test_a_result_of_another_recipe_is_not_current() -> None:
    recipe = FINDINGS["8"].recipe
    assert is_current(msgspec.structs.replace(RESULT, recipe=recipe))
    assert not is_current(RESULT)
    assert not is_current(msgspec.structs.replace(RESULT, recipe=recipe, version="0.0.1"))


def test_a_result_of_another_version_is_marked_stale() -> None:
    old = msgspec.structs.replace(RESULT, version="0.0.1")
    assert "(stale: measured with version 0.0.1)" in page_text([old], "lab")
    assert "stale" not in page_text([RESULT], "lab")
