"""`evaluate --suite NAME,NAME --data FOLDER`: published benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tutelage.cli.command import is_output_rank
from tutelage.cli.contamination import NOT_CHECKED, source_texts
from tutelage.cli.contamination import lines as contamination_lines
from tutelage.cli.evaluate_choices import NOT_MEASURED
from tutelage.files import write_json

if TYPE_CHECKING:
    from tutelage.evaluate.benchmarks.benchmark import Benchmark
    from tutelage.evaluate.benchmarks.measured import AskSettings, Measured

OUT = Path("runs/evaluations")


def evaluate_benchmarks(
    model: str,
    names: Sequence[str],
    data: Path,
    settings: AskSettings,
    out: Path | None,
    beside: Path | None,
    logs: Path | None,
    contamination: Sequence[Path],
    formats: bool,
    as_json: bool,
) -> Any:
    """Run the benchmarks, print a line for each rate, and write results, items, a page of them, and logs for inspect_ai
    where a folder is named."""
    from tutelage.evaluate.answers import can_chat
    from tutelage.evaluate.benchmarks.examined import BESIDE, measured_format_range
    from tutelage.evaluate.benchmarks.measured import to_plain
    from tutelage.evaluate.benchmarks.run import CACHE, find_benchmarks, run_benchmarks
    from tutelage.evaluate.inspect_log import write_inspect_log
    from tutelage.evaluate.result_cache import ResultCache
    from tutelage.find_model import find_model
    from tutelage.model.hub import load_model
    from tutelage.report.benchmarks_page import write_benchmarks_page

    benchmarks = find_benchmarks(names, data, settings.by_answer)
    folder = find_model(model)
    checkpoint = load_model(folder)
    if settings.chat and not can_chat(checkpoint):
        raise ValueError(f"{model} is a base model; leave --chat out")
    out = out or OUT / folder.resolve().name
    found, beside_scores = [], {}
    for measured in run_benchmarks(checkpoint, names, data, settings, out, model):
        found.append(measured)
        if not as_json and is_output_rank():
            _print(measured, settings)
        benchmark, files = benchmarks[measured.name]
        dirty, ranged = _contaminated(benchmark, files, measured, contamination), None
        if formats:
            with ResultCache(out / CACHE) as cache:
                ranged = measured_format_range(checkpoint, benchmark, files, data, settings, measured, cache)
        beside_scores[measured.name] = {"contamination": dirty, "format_range": ranged}
        if not as_json and is_output_rank():
            _print_beside(beside_scores[measured.name], formats)
        write_json(out / measured.name / BESIDE, beside_scores[measured.name])
        if logs is not None:
            write_inspect_log(out / measured.name, logs)
    page = write_benchmarks_page(out, [one.name for one in found], beside)
    if not as_json:
        click.echo(f"items and answers: {page}")
        if logs is not None:
            click.echo(f"logs for inspect_ai: {logs}; inspect view --log-dir {logs}")
    return {
        "model": model,
        "out": out,
        "page": page,
        "suites": {one.name: to_plain(one) | beside_scores[one.name] for one in found},
    }


def _contaminated(
    benchmark: Benchmark, files: Sequence[Path], measured: Measured, sources: Sequence[Path]
) -> dict[str, Any] | None:
    """Contamination by texts of the sources; None where there is no source."""
    from tutelage.evaluate.benchmarks.examined import measured_contamination

    texts = (text for path in sources for text in source_texts(path))
    return measured_contamination(benchmark, files, measured, texts) if sources else None


def _print_beside(beside: Mapping[str, Any], formats: bool) -> None:
    """Contamination and the range over prompt formats, or that they were not measured."""
    from tutelage.evaluate.benchmarks.examined import format_lines

    dirty, ranged = beside["contamination"], beside["format_range"]
    for line in [NOT_CHECKED] if dirty is None else contamination_lines(dirty):
        click.echo(f"  {line}")
    unmeasured = "format range not measured" if formats else NOT_MEASURED
    for line in [unmeasured] if ranged is None else format_lines(ranged):
        click.echo(f"  {line}")


def _print(measured: Measured, settings: AskSettings) -> None:
    from tutelage.report.labels import format_ci, format_pct

    part = "" if len(measured.items) == measured.total else f" of {measured.total:,}, a stratified sample"
    click.echo(
        f"{measured.title}: {len(measured.items):,} items{part}; {measured.format}; {', '.join(measured.files[:2])}"
    )
    if settings.budget_seconds is not None and part:
        click.echo(f"  the time allowed {len(measured.items):,}; --limit {len(measured.items)} asks the same again")
    shown = dict(measured.rates)
    if "harmful_refused" in shown and "harmless_refused" in shown:  # in one line, never one alone
        pair = {name: shown.pop(f"{name}_refused") for name in ("harmful", "harmless")}
        parts = [
            f"{name} refused {format_pct(one.rate)} of {one.count:,} ({format_ci(one)})" for name, one in pair.items()
        ]
        click.echo(f"  {'; '.join(parts)}")
    for name, rate in shown.items():
        mark = "  <-" if name == measured.headline else ""
        click.echo(f"  {name}: {format_pct(rate.rate)} of {rate.count:,} ({format_ci(rate)}){mark}")
    figures = measured.figures
    for name, label in (
        ("macro", "mean over groups (macro)"),
        ("majority", "always the most frequent choice"),
        ("ece", "calibration error (ECE, 10 bins)"),
    ):
        if isinstance(figures.get(name), float):
            click.echo(f"  {label}: {format_pct(figures[name])}")
    for name, label in (("brier", "Brier score"), ("perplexity", "perplexity")):
        if name in figures:
            click.echo(f"  {label}: {figures[name]:,.3f}")
    for name in ("pass_at", "pass_all", "majority", "best_of"):
        if isinstance(figures.get(name), dict):
            values = ", ".join(f"{k}: {format_pct(value['mean'])}" for k, value in figures[name].items())
            click.echo(f"  {name.replace('_', ' ')} k: {values}")
    for name, label in (("by_think_tokens", "ended after"), ("by_think_at_least", "of at least")):
        for tokens, value in figures.get(name, {}).items():
            click.echo(f"  thoughts {label} {tokens} tokens: {format_pct(value['rate'])}")
    if figures.get("too_long"):
        click.echo(f"  longer than the context, left out: {figures['too_long']:,}")
