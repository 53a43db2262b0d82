"""Finds the files of a benchmark in a data folder, and reads their rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from tutelage.evaluate.benchmarks.benchmark import Benchmark
from tutelage.files import explain
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows

Item = TypeVar("Item")
_DEEPEST = 6  # folders within folders


def find_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files of the first pattern that matches any, sorted; [] where none does. A pattern is compared with the end
    of the path, without case; `*` matches within a name, `**` over folders too. Where `folder` is a file, it is it.

    Raises:
        DiskError: there is no such folder.
        ValueError: files of several folders match one pattern.
    """
    if folder.is_file():
        return [folder]
    listed = _listed(folder)
    for pattern in patterns:
        parts = (re.escape(part).replace(r"\*", "[^/]*") for part in pattern.lower().split("**"))
        ends_so = re.compile(rf".*/{'.*'.join(parts)}")
        found = [path for name, path in listed if ends_so.fullmatch(name)]
        if len({path.parent for path in found}) > 1:
            names = ", ".join(str(path.relative_to(folder)) for path in found[:4])
            raise ValueError(
                f"{folder} has several files for {pattern} ({names}); give --data a folder with one of them"
            )
        if found:
            return found
    return []


def benchmark_files(folder: Path, benchmark: Benchmark) -> list[Path]:
    """The files of a benchmark. ValueError where there is none."""
    if files := find_files(folder, benchmark.files):
        return files
    raise ValueError(f"{folder} has no file of {benchmark.name}: {', '.join(benchmark.files)} (see docs/evaluation.md)")


def _listed(folder: Path) -> list[tuple[str, Path]]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise explain(error, folder, "read") from error
    found: list[tuple[str, Path]] = []
    stack = [(1, entry) for entry in reversed(entries)]
    while stack:
        depth, entry = stack.pop()
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            stack += [(depth + 1, inner) for inner in sorted(entry.iterdir(), reverse=True)] if depth < _DEEPEST else []
        else:
            name = f"/{folder.resolve().name}/{entry.relative_to(folder).as_posix()}"
            found.append((name.lower(), entry))
    return found


def read_rows(
    files: Sequence[Path], read: Callable[[Row, str], Item], is_row: Callable[[Row], bool] = lambda row: True
) -> Iterator[Item]:
    """What `read` makes of each row and its place, "FILE:LINE".

    Raises:
        DiskError: a file cannot be read.
        ValueError: a row is broken; the message names file and row.
    """
    for file in files:
        for place, raw in rows(file, is_row):
            if raw is None:
                continue
            try:
                if isinstance(raw, BrokenRow):
                    raise raw
                item = read(raw, place)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                what = f"it has no field {error}" if isinstance(error, KeyError) else str(error)
                raise ValueError(f"{file.with_name(place)}: {what}; fix the row or remove it") from error
            yield item
