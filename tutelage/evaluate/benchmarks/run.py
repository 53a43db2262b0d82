"""Runs benchmarks on one model and writes what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tutelage.engine.weights_digest import weights_digest
from tutelage.evaluate.answers import can_chat
from tutelage.evaluate.benchmarks import BENCHMARKS
from tutelage.evaluate.benchmarks.benchmark import Benchmark, ChoiceBenchmark, PromptBenchmark
from tutelage.evaluate.benchmarks.by_answer import by_answer
from tutelage.evaluate.benchmarks.data_folder import benchmark_files, find_files
from tutelage.evaluate.benchmarks.measured import AskSettings, Measured, write_measured
from tutelage.evaluate.benchmarks.run_choices import run_choices
from tutelage.evaluate.benchmarks.run_prompts import run_prompts
from tutelage.evaluate.result_cache import ResultCache
from tutelage.model.hub import Checkpoint, load_model
from tutelage.text.hashing import file_hash

CACHE = "cache.jsonl"


def find_benchmarks(
    names: Sequence[str], data: Path, answered: bool = False
) -> dict[str, tuple[Benchmark, list[Path]]]:
    """Each benchmark with its files, by its name, so that a missing one is known before the first is asked; `answered`
    is `AskSettings.by_answer`.

    Raises:
        DiskError: there is no such folder.
        ValueError: there is no benchmark of a name, or the folder has no file of it.
    """
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise ValueError(f"there is no benchmark {unknown[0]!r}; known are {', '.join(BENCHMARKS)}")
    chosen = [BENCHMARKS[name] for name in dict.fromkeys(names)]
    asked = [by_answer(one) if answered and isinstance(one, ChoiceBenchmark) else one for one in chosen]
    return {one.name: (one, benchmark_files(data, one)) for one in asked}


def find_shot_files(benchmark: Benchmark, files: Sequence[Path], data: Path) -> list[Path]:
    """The files whose rows are its examples; none where these are other rows of the same files."""
    found = find_files(data, benchmark.shot_files) if data.is_dir() else []
    return [] if list(found) == list(files) else list(found)


def run_benchmark(
    checkpoint: Checkpoint,
    benchmark: Benchmark,
    files: Sequence[Path],
    data: Path,
    settings: AskSettings,
    cache: ResultCache,
    scorer: Checkpoint | None = None,
) -> Measured:
    """One benchmark; `scorer` is a reward model that picks the best of several samples. Raises as `run_prompts`."""
    shot_files = find_shot_files(benchmark, files, data)
    if isinstance(benchmark, ChoiceBenchmark):
        return run_choices(checkpoint, benchmark, files, shot_files, settings, cache)
    return run_prompts(checkpoint, benchmark, files, shot_files, settings, cache, scorer)


def digests(benchmark: Benchmark, files: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of every file that decides the score, by its name, so that a corrected gold answer shows."""
    further = (
        [] if isinstance(benchmark, ChoiceBenchmark) else [one for file in files for one in benchmark.read_beside(file)]
    )
    return {
        **{file.name: file_hash(file) for file in files},
        **{f"{file.parent.name}/{file.name}": file_hash(file) for file in further if file.exists()},
    }


def run_benchmarks(
    checkpoint: Checkpoint,
    names: Sequence[str],
    data: Path,
    settings: AskSettings,
    out: Path,
    model: str,
) -> Iterator[Measured]:
    """The results of each benchmark, written to OUT/NAME as soon as it is done; a budget is shared evenly.

    Raises:
        DiskError: a file cannot be read or written.
        ValueError: as `find_benchmarks` and `run_benchmark`.
    """
    found = find_benchmarks(names, data, settings.by_answer)
    chats = can_chat(checkpoint) if settings.chat is None else settings.chat
    of_chats = [name for name, (one, _) in found.items() if isinstance(one, PromptBenchmark) and one.chat_only]
    if of_chats and not chats:  # before hours are spent on those before it
        raise ValueError(f"{', '.join(of_chats)}: asked in a chat, which a base model does not have; leave them out")
    scorer = None if settings.reward is None else load_model(Path(settings.reward))
    began = time.monotonic()
    with ResultCache(out / CACHE) as cache:
        for number, (benchmark, files) in enumerate(found.values()):
            start, own = time.monotonic(), settings
            if settings.budget_seconds is not None:
                left = settings.budget_seconds - (start - began)
                own = replace(settings, budget_seconds=max(0.0, left) / (len(found) - number))
            measured = run_benchmark(checkpoint, benchmark, files, data, own, cache, scorer)
            more = {
                "model": model,
                "weights": weights_digest(checkpoint.model),
                "data": digests(benchmark, files),
                "settings": asdict(settings),
                "seconds": time.monotonic() - start,
            }
            write_measured(out / benchmark.name, measured, more)
            yield measured
