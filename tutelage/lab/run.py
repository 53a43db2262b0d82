"""Replicate a finding: run its recipe in the cache, draw the conclusion, and write the result."""

from __future__ import annotations

import math
import time
from pathlib import Path

import msgspec

from tutelage import __version__
from tutelage.config import to_plain
from tutelage.lab.catalogue import FINDINGS, find, is_current
from tutelage.lab.finding import Conclusion, Finding
from tutelage.lab.page import write_page
from tutelage.lab.results import FindingResult, StageSummary, file_stem, read_result, trained_results, write_result
from tutelage.lab.run_cache import RunCache
from tutelage.lab.verdict import decide
from tutelage.process import environment
from tutelage.runner import Run

CACHE, RESULTS = Path("runs/lab"), Path("docs/lab")
QUICK = "quick"
# Only what metrics and times may depend on; the name of an operating system may identify a machine.
ENVIRONMENT = ("python", "torch", "cpu", "cores", "threads", "device")


def run_finding(number: str, cache: Path = CACHE, results: Path | None = None, quick: bool = False) -> FindingResult:
    """Run the unfinished stages of a finding, write its result and the page of all results, and return the result.

    `quick` shrinks it to seconds. Quick runs are kept apart from full ones: stages in `cache`/quick, and results there
    too unless `results` names a folder. Results of full runs go to docs/lab.

    Raises:
        ValueError: there is no such finding, or a quick run would replace a full result.
        Stopped: interrupted by Ctrl-C; the same command resumes.
    """
    finding = find(number)
    cache = cache / QUICK if quick else cache
    results = results or (cache / "results" if quick else RESULTS)
    path = results / f"{file_stem(finding.number, finding.name)}.json"
    if quick:
        check_quick(path)
    runs = RunCache(cache, finding.quick if quick else ())
    start = time.monotonic()
    conclusion = finding.measure(runs)
    write_result(results, _result(finding, runs, conclusion, quick, time.monotonic() - start))
    write_page(results)
    return read_result(path)


def check_quick(path: Path) -> None:
    """ValueError if a quick run would replace the result of a full one."""
    if path.exists() and not read_result(path).quick:
        raise ValueError(f"{path} holds the result of a full run; name another folder for a quick one: --results DIR")


def run_findings(hours: float | None, cache: Path = CACHE, results: Path | None = None, quick: bool = False) -> None:
    """Run the findings that have no result of this version and recipe, shortest first, while the time that one is
    expected to take is left; all of them where `hours` is None."""
    folder = results or (cache / QUICK / "results" if quick else RESULTS)
    known = {number for number, result in trained_results(folder).items() if is_current(result)}
    end = math.inf if hours is None else time.monotonic() + 3600 * hours
    for finding in sorted(FINDINGS.values(), key=lambda finding: finding.minutes):
        if finding.number not in known and time.monotonic() + 60 * finding.minutes <= end:
            run_finding(finding.number, cache, results, quick)


def _result(finding: Finding, runs: RunCache, conclusion: Conclusion, quick: bool, seconds: float) -> FindingResult:
    trained = [
        (finished, name)
        for finished in runs.finished
        for name, stage in finished.run.recipe.stages.items()
        if stage.trains and not stage.makes_data
    ]
    stages = [_stage_summary(finished.run, name) for finished, name in trained]
    machine = environment()
    verdict, reason = decide(conclusion.primary, conclusion.control, conclusion.needed)
    return FindingResult(
        number=finding.number,
        name=finding.name,
        claim=finding.claim,
        source=finding.source,
        published=finding.published,
        setup=finding.setup,
        quick=quick,
        recipe=finding.recipe,
        settings={finished.run.folder.name: to_plain(finished.run.recipe) for finished in runs.finished},
        stages=stages,
        table=conclusion.table,
        plots=conclusion.plots,
        primary=conclusion.primary,
        control=conclusion.control,
        needed=conclusion.needed,
        verdict=verdict,
        reason=reason,
        command=f"tutelage lab {finding.number}{' --quick' if quick else ''}",
        seconds=seconds,
        reused_stages=sum(name not in finished.trained for finished, name in trained),
        version=__version__,
        environment={key: machine[key] for key in ENVIRONMENT},
    )


def _stage_summary(run: Run, name: str) -> StageSummary:
    done = run.stage_done(name)
    assert done is not None, "all stages of a finished run are finished"
    fields = {field: done[field] for field in ("lr", "steps", "tokens", "trained_tokens", "parameters", "seconds")}
    return msgspec.convert({"folder": run.folder.name, "name": name, **fields}, StageSummary)
