from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import tutelage
from tutelage.lab.figures import Estimate
from tutelage.lab.finding import Bar, IntervalPlot, Line, LinePlot, Table
from tutelage.lab.page import markdown_table, page_text, write_page
from tutelage.lab.record import Record, StageFacts, read_record, read_records, write_record

DOCS = Path(tutelage.__file__).parents[1] / "docs"
HALF = Estimate(0.5, 0.4, 0.6)
BARS = IntervalPlot("Bars of it", "share", [Bar("one", "", HALF)])
LINES = LinePlot("Lines of it", "rate", "share", [Line("a", [0.1, 1.0], [HALF, HALF])], log_x=True)
RECORD = Record(
    number=8,
    name="half-known",
    claim="The claim.",
    source="The source",
    published="The figures.",
    setup="The way.",
    quick=False,
    recipe='name = "lab"',
    settings={"demo": {"name": "lab"}},
    stages=[StageFacts("demo", "base", 6e-3, 10, 1000, 900.0, 5000, 1.5)],
    table=Table(["way", "answered"], [["one|two", HALF]]),
    plots=[BARS],
    verdict="reproduced",
    why="The reason.",
    command="tutelage lab 8",
    seconds=12.0,
    reused=1,
    version="0.1.0",
    environment={"python": "3.11", "torch": "2.13", "cpu": "a CPU", "cores": 2, "threads": 1, "device": "cpu"},
)


def test_a_record_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    record = msgspec.structs.replace(RECORD, plots=[BARS, LINES])
    path = write_record(tmp_path, record)
    assert path.name == "08-half-known.json"
    assert read_record(path) == record
    assert read_records(tmp_path) == [record]
    assert read_records(tmp_path / "nowhere") == []


def test_a_file_that_is_no_record_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "08-half-known.json"
    path.write_text('{"number": 8}')
    with pytest.raises(ValueError, match=r"08-half-known.json is no result of the lab .* remove it"):
        read_records(tmp_path)


def test_the_page_shows_all_that_a_reader_needs_to_judge() -> None:
    text = page_text([RECORD], "lab")
    for part in (
        "| 8. Half known | The claim. | reproduced |",
        "**Published.** The figures. (The source)",
        "**Here.** The way. `tutelage lab 8` makes it.",
        "**Verdict: reproduced.** The reason.",
        "![Bars of it](lab/08-half-known.svg)",
        "50.0% (40.0 to 60.0)",
        "| base | 0.006 | 10 | 1,000 | 900 |",
        '```toml\nname = "lab"\n```',
        "Stages that were finished before: 1.",
    ):
        assert part in text
    quick = page_text([msgspec.structs.replace(RECORD, quick=True)], "lab")
    assert "reproduced (quick run: no evidence)" in quick


def test_a_table_keeps_its_bars_and_sets_figures_right() -> None:
    assert markdown_table(RECORD.table).splitlines() == [
        "| way | answered |",
        "| --- | ---: |",
        "| one\\|two | 50.0% (40.0 to 60.0) |",
    ]


def test_pictures_follow_the_records(tmp_path: Path) -> None:
    folder = tmp_path / "lab"

    def pictures() -> list[str]:
        write_page(folder)
        return sorted(path.name for path in folder.glob("*.svg"))

    write_record(folder, msgspec.structs.replace(RECORD, plots=[BARS, LINES]))
    assert pictures() == ["08-half-known-1.svg", "08-half-known-2.svg"]
    write_record(folder, RECORD)
    assert pictures() == ["08-half-known.svg"]
    assert (folder / "08-half-known.svg").read_text().startswith("<svg ")
    assert (tmp_path / "lab.md").read_text() == page_text([RECORD], "lab")


def test_the_page_says_why_numbers_are_missing() -> None:
    assert RECORD.number > 1
    assert "numbers are those of a longer list of findings: those that are" in page_text([RECORD], "lab")


def test_the_published_page_is_what_the_published_results_give() -> None:
    records = read_records(DOCS / "lab")
    page = DOCS / "lab.md"
    assert page.exists() == bool(records)
    assert not any(record.quick for record in records)
    if records:
        assert page.read_text(encoding="utf-8") == page_text(records, "lab")
