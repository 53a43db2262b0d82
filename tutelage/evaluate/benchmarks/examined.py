"""What a benchmark's score may hide: items that stand in a training text, and the format of its prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.evaluate.answer_formats import answer_range_lines
from tutelage.evaluate.benchmarks.benchmark import Benchmark, ChoiceBenchmark, PromptBenchmark
from tutelage.evaluate.benchmarks.measured import AskSettings, Measured
from tutelage.evaluate.benchmarks.prompt_range import prompt_range
from tutelage.evaluate.benchmarks.run import find_shot_files
from tutelage.evaluate.benchmarks.run_choices import read_choice_set
from tutelage.evaluate.benchmarks.run_prompts import read_prompt_set
from tutelage.evaluate.contamination import ExaminedItem, Text, contamination, of_choices
from tutelage.evaluate.prompt_formats import format_range, range_lines
from tutelage.evaluate.result_cache import ResultCache
from tutelage.model.hub import Checkpoint

BESIDE = "beside.json"  # in the folder of a benchmark's results; both stand there, None where not measured


def measured_contamination(
    benchmark: Benchmark, files: Sequence[Path], measured: Measured, texts: Iterable[Text]
) -> dict[str, Any]:
    """The rates of the asked items on their clean and dirty part, by metric. ValueError as `contamination`."""
    asked = {item.id for item in measured.items}
    items = [item for item in _examined(benchmark, files) if item.id in asked]
    metrics = {metric for item in measured.items for metric in item.passed}
    outcomes = {
        metric: {item.id: item.passed[metric] for item in measured.items if metric in item.passed}
        for metric in sorted(metrics)
    }
    return contamination(items, outcomes, texts)


def _examined(benchmark: Benchmark, files: Sequence[Path]) -> list[ExaminedItem]:
    if isinstance(benchmark, ChoiceBenchmark):
        return of_choices(read_choice_set(benchmark, files))
    return [
        ExaminedItem(item.id, item.question, (item.gold,) if isinstance(item.gold, str) else ())
        for item in read_prompt_set(benchmark, files)
    ]


def measured_format_range(
    checkpoint: Checkpoint,
    benchmark: Benchmark,
    files: Sequence[Path],
    data: Path,
    settings: AskSettings,
    measured: Measured,
    cache: ResultCache,
) -> dict[str, Any] | None:
    """The range over prompt formats on the asked items; None for items that are no questions, such as LAMBADA's.
    Raises as `format_range` and `prompt_range`."""
    if isinstance(benchmark, PromptBenchmark):
        shot_files = find_shot_files(benchmark, files, data)
        return prompt_range(checkpoint, benchmark, files, shot_files, settings, measured, cache)
    pool = read_choice_set(benchmark, files)
    asked = {item.id for item in measured.items}
    items = [item for item in pool if item.id in asked]
    if any(item.beginnings or len(item.choices) < 2 for item in items):
        return None
    return format_range(checkpoint, items, pool)


def format_lines(ranged: Mapping[str, Any]) -> Iterator[str]:
    """The range as lines for the terminal."""
    return range_lines(ranged) if "letter_bias" in ranged else answer_range_lines(ranged)
