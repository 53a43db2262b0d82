"""How several people, or judges, coded the same items, from a file; and how far they agree.

A row is an item with one column for each coder ({"unit": 1, "ann": 3, "ben": 4}, an empty cell where one did not code
it), or one coding: {"item": ..., "coder": ..., "value": ...}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.evaluate.agreement import Level, cohen_kappa, fleiss_kappa, krippendorff_alpha
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows

_ITEMS = ("item", "unit", "id", "prompt", "question_id", "patient", "index")
RESAMPLES = 500


@dataclass(frozen=True)
class Codings:
    """values[coder][item] is how a coder coded an item, as text; items that a coder left out are missing."""

    items: tuple[str, ...]
    values: Mapping[str, Mapping[str, str]]


def read_codings(path: Path) -> Codings:
    """The codings of a file.

    Raises:
        DiskError: it cannot be read.
        ValueError: a row is broken or has no item, one coder codes an item twice, or there are fewer than two coders.
    """
    values: dict[str, dict[str, str]] = {}
    items: dict[str, None] = {}
    for file in data_files(path):
        for place, row in rows(file, lambda row: len(row) > 1):
            if row is None:
                continue
            where = file.with_name(place)
            if isinstance(row, BrokenRow):
                raise ValueError(f"{where}: {row}; fix the row or remove it")
            name = next((key for key in _ITEMS if row.get(key) not in (None, "")), None)
            if name is None:
                raise ValueError(f"{where}: no item; name it in one of {', '.join(_ITEMS)}")
            item = str(row[name])
            items[item] = None
            for coder, value in _coded(row, name):
                own = values.setdefault(coder, {})
                if item in own:
                    raise ValueError(f"{where}: {coder} codes item {item} twice; keep one of the rows")
                own[item] = value
    if len(values) < 2:
        raise ValueError(f"{path} has {len(values)} coder; agreement needs two, as columns or as 'coder' and 'value'")
    return Codings(tuple(items), values)


def _coded(row: Row, name: str) -> Iterator[tuple[str, str]]:
    if row.get("coder") is not None:
        yield str(row["coder"]), str(row.get("value"))
        return
    for coder, value in row.items():
        if coder != name and value is not None and str(value).strip():
            yield coder, str(value).strip()


def agreement_figures(codings: Codings, level: Level, seed: int = 0) -> dict[str, Any]:
    """Krippendorff's alpha with its 95% interval from a bootstrap over items; how often two coders of an item agree;
    Cohen's kappa of each two coders; and Fleiss' kappa where all items have the same number of codings.

    Raises:
        ValueError: a value is no number where the level needs one; or agreement cannot be told from chance.
    """
    coders = list(codings.values)
    table = [[codings.values[coder].get(item) for coder in coders] for item in codings.items]
    values_NC = _numbers(table, level)
    rng, draws = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        drawn = values_NC[rng.integers(0, len(values_NC), len(values_NC))]
        try:
            draws.append(krippendorff_alpha(drawn, level))
        except ValueError:
            continue  # all values of this resample are equal
    low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) > RESAMPLES // 2 else (None, None)
    pairs = [[one for one in row if one is not None] for row in table]
    same = [one == other for row in pairs for one, other in combinations(row, 2)]
    return {
        "items": len(table),
        "coders": coders,
        "level": level,
        "alpha": {"value": krippendorff_alpha(values_NC, level), "low": low, "high": high},
        "pairwise": float(np.mean(same)) if same else None,
        "fleiss_kappa": _fleiss(pairs),
        "cohen_kappa": _cohen(codings, coders),
    }


def _numbers(table: Sequence[Sequence[str | None]], level: Level) -> np.ndarray:
    """The values as numbers, NaN where there is none; categories get a number each."""
    texts = sorted({value for row in table for value in row if value is not None})
    if level == "nominal":
        place = {text: float(number) for number, text in enumerate(texts)}
    else:
        try:
            place = {text: float(text) for text in texts}
        except ValueError as error:
            raise ValueError(f"--level {level} needs numbers ({error}); use --level nominal") from error
    return np.array([[np.nan if value is None else place[value] for value in row] for row in table])


def _fleiss(pairs: Sequence[Sequence[str]]) -> float | None:
    if len({len(row) for row in pairs}) > 1 or len(pairs[0]) < 2:
        return None
    categories = sorted({value for row in pairs for value in row})
    counts = np.array([[row.count(category) for category in categories] for row in pairs])
    return fleiss_kappa(counts) if len(categories) > 1 else None


def _cohen(codings: Codings, coders: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for one, other in combinations(coders, 2):
        shared = [item for item in codings.values[one] if item in codings.values[other]]
        first, second = ([codings.values[coder][item] for item in shared] for coder in (one, other))
        told = len({*first, *second}) > 1
        found.append(
            {"coders": [one, other], "items": len(shared), "kappa": cohen_kappa(first, second) if told else None}
        )
    return found


def agreement_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines for the terminal."""
    alpha = found["alpha"]
    bounds = f" ({alpha['low']:.3f} to {alpha['high']:.3f})" if alpha["low"] is not None else ""
    yield f"{found['items']:,} items, {len(found['coders'])} coders"
    yield f"Krippendorff's alpha, {found['level']}: {alpha['value']:.3f}{bounds}; 1 is agreement, 0 is chance"
    if found["pairwise"] is not None:
        yield f"two coders of an item agree: {found['pairwise']:.1%}"
    fleiss = found["fleiss_kappa"]
    yield f"Fleiss' kappa: {'the number of codings differs by item' if fleiss is None else f'{fleiss:.3f}'}"
    for of in found["cohen_kappa"]:
        kappa = "cannot be told" if of["kappa"] is None else f"{of['kappa']:.3f}"
        yield f"Cohen's kappa of {of['coders'][0]} and {of['coders'][1]}: {kappa} over {of['items']:,} items"
