"""Published benchmarks of a recipe's data folder, as `tutelage evaluate --suite NAME,NAME` runs them."""

from __future__ import annotations

from typing import Any

from tutelage.evaluate.benchmarks.benchmark import PromptBenchmark
from tutelage.evaluate.benchmarks.measured import AskSettings
from tutelage.evaluate.benchmarks.run import find_benchmarks, run_benchmark
from tutelage.evaluate.result_cache import ResultCache
from tutelage.evaluate.results import RateGroup, Results, Suite
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import Rate

SAMPLES = 10  # of each benchmark, what is not right first


def run(session: EvalSession) -> Results:
    """The rates of each benchmark under its name; the headline's outcomes, so that two runs are compared item by item.

    Raises:
        DiskError: a file cannot be read.
        ValueError: the folder has no file of a benchmark, or a row is broken.
    """
    checkpoint, cache = session.checkpoint("model"), ResultCache()
    rates: dict[str, Rate] = {}
    outcomes: dict[str, Any] = {}
    samples: list[dict[str, str]] = []
    figures: dict[str, Any] = {}
    for source in session.open_benchmarks():
        for name, (benchmark, files) in find_benchmarks(source.suites, source.folder).items():
            found = run_benchmark(checkpoint, benchmark, files, source.folder, AskSettings(limit=source.limit), cache)
            rates |= {f"{name}.{metric}": rate for metric, rate in found.rates.items()}
            passed = [(item.id, item.passed[found.headline]) for item in found.items if found.headline in item.passed]
            outcomes[f"{name}.{found.headline}"] = [(item, int(value)) for item, value in passed]
            figures[name] = {"format": found.format, "asked": len(found.items), "of": found.total}
            if isinstance(benchmark, PromptBenchmark):
                order = sorted(found.items, key=lambda item: item.outcome == "right")[:SAMPLES]
                samples += [
                    {"id": f"{name} {item.id}", "gold": item.gold, "answer": item.output, "outcome": item.outcome}
                    for item in order
                ]
    return Results(rates, outcomes, samples, figures)


SUITE = Suite(
    name="benchmarks",
    needs=frozenset({"benchmarks"}),
    run=run,
    labels={},
    groups=(RateGroup("Benchmarks", "Published sets, a stratified part of each; the format is in results.json."),),
)
