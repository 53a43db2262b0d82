from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.report.compare_results import compare_results


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a results file of items that are right (1) or wrong (0)."""

    def written(name: str, right: str, extra: Any = lambda number: {}, **fields: Any) -> Path:
        items = [
            {"id": f"q{number}", "outcome": "right" if one == "1" else "wrong"} | extra(number)
            for number, one in enumerate(right)
        ]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"model": name, "suite": "/some/where/q.jsonl", "items": items} | fields))
        return path

    return written


def test_two_results_files_are_paired_item_by_item_and_name_what_flipped(write: Any) -> None:
    first, second = write("a", "0" * 15 + "1" * 5 + "1" * 30), write("b", "1" * 15 + "0" * 5 + "1" * 30)
    found = compare_results(first, second)["metrics"]["right"]
    assert (found["first"], found["second"], found["count"]) == (0.7, 0.9, 50)
    assert found["p_value"] == pytest.approx(0.0414, abs=5e-5)
    assert found["holm"] == found["p_value"]
    assert found["verdict"] == "better"
    assert found["flipped"]["lost"] == ["q15", "q16", "q17", "q18", "q19"]
    assert len(found["flipped"]["gained"]) == 15


@pytest.mark.parametrize(
    ("right", "extra", "fields", "message"),
    [
        ("101", lambda number: {}, {"suite": "other.jsonl"}, "different suite"),
        ("101", lambda number: {}, {"format": "chat"}, "different format"),
        ("10", lambda number: {}, {}, r"b.json lacks 1 of the 3 items of a.json, such as q2"),
        ("101", lambda number: {"prompt": f"Q{number}?"}, {}, "item q0 has another prompt"),
    ],
)
def test_pain_e25_what_was_not_asked_alike_is_refused_and_named(
    write: Any, right: str, extra: Any, fields: dict[str, Any], message: str
) -> None:
    """alpaca_eval #453: misaligned outputs gave NaN."""
    first = write("a", "110", lambda number: {"prompt": f"q{number}?"} if "prompt" in message else {})
    with pytest.raises(ValueError, match=message):
        compare_results(first, write("b", right, extra, **fields))


def test_json_lines_of_items_are_read(tmp_path: Path) -> None:
    for name, right in (("a", "0011"), ("b", "0111")):
        items = [{"id": str(n), "passed": {"strict": int(one), "lenient": 1}} for n, one in enumerate(right)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    found = compare_results(tmp_path / "a.jsonl", tmp_path / "b.jsonl")["metrics"]
    assert found["strict"]["flipped"] == {"gained": ["1"], "lost": []}
    assert found["lenient"]["p_value"] == 1 and found["lenient"]["holm"] == 1


def test_items_that_one_model_could_not_be_asked_are_left_out_and_counted(tmp_path: Path) -> None:
    """lm-eval #3115: a question that did not fit was scored all the same."""
    for name, scored in (("a", 4), ("b", 3)):
        items = [{"id": str(n), "outcome": "right", "passed": {"acc": 1}} for n in range(scored)]
        items += [{"id": str(n), "outcome": "too long", "passed": {}} for n in range(scored, 4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    found = compare_results(tmp_path / "a.jsonl", tmp_path / "b.jsonl")["metrics"]
    assert (found["acc"]["count"], found["acc"]["left_out"]) == (3, 1)
    assert list(found) == ["acc"]


def test_items_of_one_passage_are_one_unit_and_sets_have_a_macro_mean(write: Any) -> None:
    def extra(number: int) -> dict[str, str]:
        return {"cluster": f"passage {number // 8}", "group": "long" if number < 32 else "short"}

    first, second = "0" * 40, "1" * 8 + "0" * 24 + "1" * 8
    alone = compare_results(write("a", first), write("b", second))["metrics"]["right"]
    grouped = compare_results(write("a", first, extra), write("b", second, extra))["metrics"]["right"]
    assert alone["verdict"] == "better"
    assert grouped["verdict"] == "no difference shown"  # two of five passages
    assert grouped["clusters"] == 5
    assert grouped["means"]["second"] == {"micro": 0.4, "macro": pytest.approx((8 / 32 + 1) / 2)}


def test_the_command_prints_it_and_refuses_a_file_against_a_folder(write: Any, tmp_path: Path) -> None:
    first, second = write("a", "0011"), write("b", "0111")
    result = CliRunner().invoke(main, ["compare", str(first), str(second)])
    assert result.exit_code == 0, result.output
    assert "only the second is right on 1 (q1); only the first on 0" in result.output
    assert "McNemar p = 1.0000" in result.output
    page = tmp_path / "page.html"
    assert CliRunner().invoke(main, ["compare", str(first), str(second), "--html", str(page)]).exit_code == 0
    text = page.read_text()
    assert "Only the second is right, by right: 1" in text and "q1" in text and "no difference shown" in text
    refused = CliRunner().invoke(main, ["compare", str(first), str(tmp_path)])
    assert refused.exit_code == 1 and "a folder and a file" in refused.stderr
