"""Compares two results files of an evaluation, item by item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.evaluate.result_file import (
    Item,
    ResultFile,
    check_comparable,
    read_result_file,
    read_result_folder,
    result_folders,
)
from tutelage.evaluate.significance import clustered_difference, holm, macro_micro, mcnemar, paired_bootstrap
from tutelage.evaluate.statistics import Difference, paired_difference
from tutelage.report.compare import verdict
from tutelage.report.labels import format_points

SHOWN = 5
LISTED = 100  # flipped items of each side with their texts


def compare_results(first_path: Path, second_path: Path) -> dict[str, Any]:
    """The difference of each metric of two results files, second minus first, over the same items.

    Scores of 0 and 1 get the adjusted Wald interval and McNemar's exact test, others a paired bootstrap; items with a
    `cluster` get clustered errors. `flipped` names the items that only one of the two got right. `holm` is the p-value
    adjusted for the number of metrics. `items` holds the texts of flipped items.

    Raises:
        ValueError: a file is broken, or the two were not asked the same.
    """
    comparison = _compare(read_result_file(first_path), read_result_file(second_path))
    _add_holm([comparison])
    return comparison


def compare_folders(first_path: Path, second_path: Path) -> dict[str, Any]:
    """The same for two folders of results of benchmarks: each benchmark that both have, under `suites`. Holm's
    correction counts the metrics of all of them. ValueError as `compare_results`, or where they share no benchmark."""
    folders = [result_folders(path) for path in (first_path, second_path)]
    if all(len(of) == 1 for of in folders):  # two folders of one benchmark, whatever their names
        shared = {next(iter(folders[0])): (next(iter(folders[0].values())), next(iter(folders[1].values())))}
    else:
        shared = {name: (folder, folders[1][name]) for name, folder in folders[0].items() if name in folders[1]}
    if not shared:
        names = [", ".join(of) for of in folders]
        raise ValueError(f"{first_path} has {names[0]} and {second_path} {names[1]}; evaluate both on one benchmark")
    suites = {name: _compare(*map(read_result_folder, pair)) for name, pair in shared.items()}
    _add_holm([*suites.values()])
    return {"suites": suites}


def _compare(first: ResultFile, second: ResultFile) -> dict[str, Any]:
    check_comparable(first, second)
    metrics = [metric for metric in first.scores if metric in second.scores]
    if not metrics:
        raise ValueError(f"{first.path} and {second.path} share no metric; evaluate both alike")
    found = {metric: _metric(first, second, metric) for metric in metrics}
    sides = [of["flipped"][side] for of in found.values() if "flipped" in of for side in ("lost", "gained")]
    flipped = dict.fromkeys(name for side in sides for name in side[:LISTED])
    return {
        "first": {"path": first.path, "model": first.model},
        "second": {"path": second.path, "model": second.model},
        "settings": first.settings,
        "headline": first.headline if first.headline in found else metrics[0],
        "metrics": found,
        "items": {name: _texts(first.items[name], second.items[name]) for name in flipped},
    }


def _texts(first: Item, second: Item) -> dict[str, str]:
    """What there is to read of an item: its prompt, the right answer, and what both models said or chose."""
    both = {
        side: next((str(item[key]) for key in ("output", "answer", "picks") if item.get(key) not in (None, "")), "")
        for side, item in (("first", first), ("second", second))
    }
    return {"prompt": str(first.get("prompt") or ""), "gold": str(first.get("gold", "")), **both}


def _add_holm(comparisons: Sequence[Mapping[str, Any]]) -> None:
    """Adds the p-values adjusted for the number of tests of all comparisons."""
    tested = [of for comparison in comparisons for of in comparison["metrics"].values() if "p_value" in of]
    for of, adjusted in zip(tested, holm([of["p_value"] for of in tested]), strict=True):
        of["holm"] = adjusted


def _metric(first: ResultFile, second: ResultFile, metric: str) -> dict[str, Any]:
    here, there = first.scores[metric], second.scores[metric]
    names = [name for name in here if name in there]
    first_N, second_N = (np.array([of[name] for name in names]) for of in (here, there))
    items = [first.items[name] for name in names]
    binary = bool(np.isin(np.concatenate([first_N, second_N]), (0, 1)).all())
    clusters = [str(item.get("cluster", name)) for item, name in zip(items, names, strict=True)]
    clustered = len({*clusters}) < len(clusters)
    difference = _difference(first_N, second_N, binary, clusters if clustered else None)
    found = {
        "first": float(first_N.mean()),
        "second": float(second_N.mean()),
        **asdict(difference),
        "left_out": len(first.items) - len(names),
        "verdict": verdict(difference.low, difference.high, lower_is_better=False),
    }
    sets = [str(item.get("group") or item.get("set") or "") for item in items]
    if all(sets) and len({*sets}) > 1:
        found["means"] = {"first": macro_micro(first_N, sets), "second": macro_micro(second_N, sets)}
    if binary:
        gained = [name for name, a, b in zip(names, first_N, second_N, strict=True) if b > a]
        lost = [name for name, a, b in zip(names, first_N, second_N, strict=True) if a > b]
        found |= {"p_value": mcnemar(len(gained), len(lost)), "flipped": {"gained": gained, "lost": lost}}
    if clustered:
        found["clusters"] = len({*clusters})
    return found


def _difference(first_N: np.ndarray, second_N: np.ndarray, binary: bool, clusters: list[str] | None) -> Difference:
    if clusters is not None:
        return clustered_difference(first_N, second_N, clusters)
    return paired_difference(first_N, second_N) if binary else paired_bootstrap(first_N, second_N)


def result_lines(comparison: Mapping[str, Any]) -> Iterator[str]:
    """The comparison as lines for the terminal."""
    if "suites" in comparison:
        for name, of in comparison["suites"].items():
            yield f"{name}:"
            yield from (f"  {line}" for line in result_lines(of))
        return
    yield f"first: {comparison['first']['model']}; second: {comparison['second']['model']}"
    yield "; ".join(f"{key} {value}" for key, value in comparison["settings"].items() if not isinstance(value, Mapping))
    for metric, of in comparison["metrics"].items():
        interval = f"{format_points(of['low'])} to {format_points(of['high'])}"
        clusters = f" in {of['clusters']:,} clusters" if "clusters" in of else ""
        yield (
            f"{metric}: {of['first']:.1%} and {of['second']:.1%} of {of['count']:,} items{clusters}; second minus "
            f"first {format_points(of['difference'])} ({interval}): {of['verdict']}"
        )
        if of["left_out"]:
            yield f"    left out, since one of the two has no score of them: {of['left_out']:,}"
        if "means" in of:
            both = [f"{name} {of['means'][name]['macro']:.1%}" for name in ("first", "second")]
            yield f"    macro mean over groups: {', '.join(both)}; the line above is the micro mean over items"
        if "flipped" in of:
            gained, lost = of["flipped"]["gained"], of["flipped"]["lost"]
            yield f"    McNemar p = {of['p_value']:.4f}, with Holm's correction {of['holm']:.4f}"
            yield f"    only the second is right on {_some(gained)}; only the first on {_some(lost)}"


def _some(names: list[str]) -> str:
    """How many items, and the first of them."""
    listed = f" ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})" if names else ""
    return f"{len(names):,}{listed}"
