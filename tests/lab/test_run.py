from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tutelage import progress
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.suites import format, knowledge
from tutelage.lab import measures
from tutelage.lab.catalogue import FINDINGS
from tutelage.lab.results import FindingResult, order, read_result, write_result
from tutelage.lab.run import run_finding
from tutelage.lab.terminal import overview, print_overview, print_result


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all tests here, as findings share it; untrained models would answer at full length."""
    progress.set_mode("quiet")
    with pytest.MonkeyPatch.context() as patch:
        for module in (format, knowledge, measures):
            patch.setattr(module, "ANSWER", SamplingSettings(max_tokens=2))
        yield tmp_path_factory.mktemp("cache")
    progress.set_mode("auto")


# Two small ones show the common way: one with suites, and one with data files of its own.
QUICK = ("12", "4")


@pytest.mark.parametrize("number", QUICK)
def test_a_second_run_trains_nothing_and_concludes_the_same(number: str, cache: Path) -> None:
    first = run_finding(number, cache, quick=True)
    again = run_finding(number, cache, quick=True)
    assert first.quick
    assert (
        len({(stage.folder, stage.name) for stage in first.stages})
        == len(first.stages)
        == again.reused_stages
        >= first.reused_stages
    )
    assert [stage.seconds for stage in again.stages] == [stage.seconds for stage in first.stages]
    assert (again.table, again.plots, again.reason) == (first.table, first.plots, first.reason)
    page = (cache / "quick" / "results.md").read_text(encoding="utf-8")
    assert f"## {first.title}" in page


@pytest.mark.slow
@pytest.mark.parametrize("number", [number for number in FINDINGS if number not in QUICK])
def test_every_finding_finishes(
    number: str, cache: Path, data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if number == "27":  # its text is downloaded, by its checksum
        text = data("tinyshakespeare/input.txt").read_bytes()
        (tmp_path / hashlib.sha256(text).hexdigest()).write_bytes(text)
        monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    result = run_finding(number, cache, quick=True)
    assert len({(stage.folder, stage.name) for stage in result.stages}) == len(result.stages) > 0
    assert result.primary and result.reason  # that full results have three seeds is in test_verdict.py


@pytest.mark.slow
def test_findings_share_the_base_and_the_plain_sft_stage(cache: Path) -> None:
    def base_mtime(number: str) -> int:
        run_finding(number, cache, quick=True)
        return (cache / "quick" / "demo" / "base" / "model.safetensors").stat().st_mtime_ns

    assert base_mtime("1") == base_mtime("2") == base_mtime("3")


def test_a_quick_run_never_replaces_a_full_result(cache: Path, tmp_path: Path) -> None:
    quick = run_finding("12", cache, tmp_path / "lab", quick=True)
    path = write_result(tmp_path / "lab", msgspec.structs.replace(quick, quick=False))
    with pytest.raises(ValueError, match=r"12-token-shift.json holds the result of a full run; .* --results DIR$"):
        run_finding("12", cache, tmp_path / "lab", quick=True)
    assert not read_result(path).quick


def printed(result: FindingResult, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_result(result, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_terminal_lists_findings_and_prints_results(cache: Path) -> None:
    result = run_finding("12", cache, quick=True)
    text = printed(result)
    for part in (result.claim, result.reason[:40], *map(str, result.table.rows[0]), "quick run: no evidence"):
        assert part in text
    assert "…" not in printed(result, width=40)
    rows = overview(cache / "quick" / "results")
    assert [row["number"] for row in rows] == sorted(FINDINGS, key=order)
    assert {row["number"]: row["verdict"] for row in rows}["12"] == f"{result.verdict} (quick run: no evidence)"
    assert {row["verdict"] for row in overview(cache / "nowhere")} == {None}
    console = Console(file=io.StringIO(), width=200)
    print_overview(overview(cache / "nowhere"), console)
    assert console.file.getvalue().count("not run yet") == len(FINDINGS)  # type: ignore[attr-defined]
