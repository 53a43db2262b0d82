"""Try a finding: run its recipe in the cache, judge the figures, and write what it came to."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from tutelage import __version__
from tutelage.config import to_plain
from tutelage.lab.bench import Bench
from tutelage.lab.catalogue import find
from tutelage.lab.finding import Finding, Result
from tutelage.lab.page import write_page
from tutelage.lab.record import Record, StageFacts, file_stem, read_record, write_record
from tutelage.process import environment
from tutelage.runner import Run

CACHE, RESULTS = Path("runs/lab"), Path("docs/lab")
QUICK = "quick"
# Of the environment only what figures and times may hang on; the name of a system may name a machine.
ENVIRONMENT = ("python", "torch", "cpu", "cores", "threads", "device")


def try_finding(number: int, cache: Path = CACHE, results: Path | None = None, quick: bool = False) -> Record:
    """Run what is not finished of a finding, write its result and the page of all results, and return the result.

    `quick` shrinks it to seconds and keeps apart from the full runs: stages in `cache`/quick, and results there too
    where no folder is named. Results of full runs go to docs/lab.

    Raises:
        ValueError: there is no such finding, or a quick run was to replace a full result.
        Stopped: Ctrl-C came; the same command goes on from there.
    """
    finding = find(number)
    cache = cache / QUICK if quick else cache
    results = results or (cache / "results" if quick else RESULTS)
    path = results / f"{file_stem(finding.number, finding.name)}.json"
    if quick and path.exists() and not read_record(path).quick:
        raise ValueError(f"{path} holds the result of a full run; name another folder for a quick one: --results DIR")
    bench = Bench(cache, finding.quick if quick else ())
    began = time.monotonic()
    result = finding.measure(bench)
    write_record(results, _record(finding, bench, result, quick, time.monotonic() - began))
    write_page(results)
    return read_record(path)


def _record(finding: Finding, bench: Bench, result: Result, quick: bool, seconds: float) -> Record:
    stages = [_facts(of.run, name) for of in bench.finished for name in of.run.recipe.stages]
    about = environment()
    return Record(
        number=finding.number,
        name=finding.name,
        claim=finding.claim,
        source=finding.source,
        published=finding.published,
        setup=finding.setup,
        quick=quick,
        recipe=finding.recipe,
        settings={of.run.folder.name: to_plain(of.run.recipe) for of in bench.finished},
        stages=stages,
        table=result.table,
        plots=result.plots,
        verdict=result.verdict,
        why=result.why,
        command=f"tutelage lab {finding.number}{' --quick' if quick else ''}",
        seconds=seconds,
        reused=len(stages) - sum(len(of.trained) for of in bench.finished),
        version=__version__,
        environment={key: about[key] for key in ENVIRONMENT},
    )


def _facts(run: Run, name: str) -> StageFacts:
    done = run.stage_done(name)
    assert done is not None, "a run that came to its end has finished all its stages"
    figures = {field: done[field] for field in ("lr", "steps", "tokens", "trained_tokens", "parameters", "seconds")}
    return msgspec.convert({"folder": run.folder.name, "name": name, **figures}, StageFacts)
