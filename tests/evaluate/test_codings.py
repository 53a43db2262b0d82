from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.evaluate.codings import agreement_figures, read_codings

Data = Callable[[str], Path]


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_the_command_gives_krippendorffs_published_values(data: Data, level: str, alpha: float) -> None:
    path = data("statistics/krippendorff_c.csv")
    result = CliRunner().invoke(main, ["agreement", str(path), "--level", level, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["alpha"]["value"] == pytest.approx(alpha, abs=5e-4)
    assert found["alpha"]["low"] < alpha < found["alpha"]["high"]
    assert found["fleiss_kappa"] is None  # some units have fewer codings
    assert len(found["cohen_kappa"]) == 6


def test_the_command_gives_fleiss_published_value(data: Data) -> None:
    found = agreement_figures(read_codings(data("statistics/fleiss_1971_diagnoses.csv")), "nominal")
    assert found["fleiss_kappa"] == pytest.approx(0.430, abs=5e-4)
    assert found["pairwise"] == pytest.approx(0.5556, abs=5e-5)


def test_rows_may_be_single_codings(tmp_path: Path) -> None:
    path = tmp_path / "codings.jsonl"
    rows = [
        {"item": item, "coder": coder, "value": value}
        for coder in ("ann", "ben")
        for item, value in ((1, "x"), (2, "y"))
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = agreement_figures(read_codings(path), "nominal")
    assert (found["coders"], found["alpha"]["value"], found["pairwise"]) == (["ann", "ben"], 1.0, 1.0)
    assert (
        "Cohen's kappa of ann and ben: 1.000 over 2 items" in CliRunner().invoke(main, ["agreement", str(path)]).output
    )


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"item": 1, "coder": "a", "value": 1}] * 2, "a codes item 1 twice"),
        ([{"item": 1, "coder": "a", "value": 1}], "has 1 coder; agreement needs two"),
        ([{"what": 1, "a": 1, "b": 2}], "no item; name it in one of"),
        ([{"item": 1, "a": "x", "b": "y"}, {"item": 2, "a": "x", "b": "x"}], "--level ordinal needs numbers"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, rows: list[dict[str, object]], sentence: str) -> None:
    path = tmp_path / "codings.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    result = CliRunner().invoke(main, ["agreement", str(path), "--level", "ordinal"])
    assert result.exit_code == 1 and sentence in result.stderr
