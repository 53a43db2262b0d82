"""Preferences of a judge between a model and a baseline, from a file, and the win rate that they give.

A row is {"preference": from 1 (the baseline) to 2 (the model); 0 is a tie, null no verdict}, as AlpacaEval writes it,
or {"share": from 0 to 1}; with `length_1` and `length_2`, or the answers `output_1` and `output_2`; those of the
baseline are the first.
`index`, `instruction` or `prompt` names the prompt.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.evaluate.statistics import mean_interval, rate
from tutelage.evaluate.win_rate import aligned, controlled_win_rate, length_controlled
from tutelage.files import explain
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows

_NAMES = ("index", "instruction", "prompt", "id")


@dataclass(frozen=True)
class PreferenceRow:
    """What the model won of a prompt, None without a verdict; the lengths of the baseline's and its own answer; and the
    fitted preference of a published model, where there is one."""

    share: float | None
    lengths: tuple[float, float] | None
    fitted: float | None


def read_preference_rows(path: Path) -> dict[str, PreferenceRow]:
    """The preferences of a file by prompt.

    Raises:
        DiskError: it cannot be read.
        ValueError: a row is broken, or two rows have one prompt; the message names it.
    """
    found: dict[str, PreferenceRow] = {}
    for file in data_files(path):
        for place, row in rows(file, lambda row: "preference" in row or "share" in row):
            if row is None:
                continue
            where = file.with_name(place)
            if isinstance(row, BrokenRow):
                raise ValueError(f"{where}: {row}; fix the row or remove it")
            name = next((str(row[key]) for key in _NAMES if row.get(key) not in (None, "")), place)
            if name in found:
                raise ValueError(f"{where}: a second row of prompt {name[:60]!r}; remove one")
            try:
                found[name] = _row(row)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{where}: {error}; a row has a 'preference' from 1 to 2, or a 'share'") from error
    if not found:
        raise ValueError(f"{path} has no rows with a 'preference' or a 'share'")
    return found


def _row(row: Row) -> PreferenceRow:
    share: float | None = None
    if row.get("share") not in (None, ""):
        share = float(row["share"])
    elif row.get("preference") not in (None, ""):
        preference = float(row["preference"])
        share = 0.5 if preference == 0 else preference - 1
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"the model's share is {share}")
    lengths = [row.get(f"length_{n}") for n in (1, 2)]
    if None in lengths and isinstance(row.get("output_1"), str) and isinstance(row.get("output_2"), str):
        lengths = [len(row["output_1"]), len(row["output_2"])]
    fitted = row.get("glm_preference")
    both = None if None in lengths or "" in lengths else (float(lengths[0]), float(lengths[1]))  # type: ignore[arg-type]
    return PreferenceRow(share, both, None if fitted in (None, "") else float(fitted))


def win_rate_figures(preferences: Mapping[str, PreferenceRow]) -> dict[str, Any]:
    """The raw win rate with its interval over prompts; where lengths are known, the win rate at equal length by a fit
    on these rows, and how often the longer answer wins. Rows without a verdict are counted apart.

    Raises:
        ValueError: no row has a verdict.
    """
    decided = [row for row in preferences.values() if row.share is not None]
    if not decided:
        raise ValueError("no row has a verdict; each 'preference' is null")
    shares = np.array([row.share for row in decided], float)
    found: dict[str, Any] = {"prompts": len(shares), "win_rate": mean_interval(shares)}
    found["unparsed"] = rate(len(preferences) - len(decided), len(preferences))
    if all(row.lengths is not None for row in decided):
        lengths = np.array([row.lengths for row in decided])
        found["length_controlled"] = length_controlled(shares, lengths[:, 1], lengths[:, 0])
        found["mean_length"] = {"baseline": float(lengths[:, 0].mean()), "model": float(lengths[:, 1].mean())}
        differ = (lengths[:, 0] != lengths[:, 1]) & (shares != 0.5)
        if differ.any():
            longer = (shares[differ] > 0.5) == (lengths[differ, 1] > lengths[differ, 0])
            found["longer_wins"] = rate(int(longer.sum()), len(longer))
    return found


def published_rate(
    preferences: Mapping[str, PreferenceRow],
    weights: Path,
    model: str,
    known: Mapping[str, PreferenceRow],
    known_model: str,
    by_number: bool = False,
) -> float:
    """AlpacaEval 2's length-controlled win rate of a model with published weights. The difficulty of each prompt is
    read from another model's fitted preferences (`glm_preference`).

    by_number: pair the rows by number, as AlpacaEval's own code does: after a missing row each has the difficulty of
               another prompt. Only to reproduce figures that were published so.

    Raises:
        ValueError: a model has no weights, a fitted preference is missing, or the prompts differ.
    """
    table = _weights(weights)
    for name in (model, known_model):
        if name not in table:
            raise ValueError(f"{weights} has no weights of {name!r}")
    difficulty_weight, intercept = table[known_model]
    if lacking := [name for name, row in known.items() if row.fitted is None]:
        raise ValueError(f"the rows of {known_model} lack 'glm_preference', such as prompt {lacking[0][:60]!r}")
    rows = [*known.values()]
    if not by_number:
        rows = [row for _, row, _ in aligned(known, preferences, (known_model, model))]
    elif len(rows) < len(preferences):
        raise ValueError(
            f"{known_model} has {len(rows)} rows and {model} {len(preferences)}; by number it needs as many"
        )
    fitted = np.array([row.fitted for row in rows[: len(preferences)]], float)
    difficulty_N = (np.log(fitted / (1 - fitted)) - intercept) / difficulty_weight
    own_weight, own_intercept = table[model]
    return controlled_win_rate(own_intercept, own_weight, difficulty_N)


def _weights(path: Path) -> dict[str, tuple[float, float]]:
    """Of each model the weight of difficulty, and the intercept: the last two columns of AlpacaEval's file."""
    try:
        with path.open(encoding="utf-8") as file:
            table = [*csv.reader(file)]
    except OSError as error:
        raise explain(error, path, "read") from error
    try:
        return {row[0]: (float(row[2]), float(row[3])) for row in table[1:]}
    except (IndexError, ValueError) as error:
        raise ValueError(f"{path} has no rows of a model, its length, difficulty and intercept") from error


def win_rate_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures as lines for the terminal."""
    won = found["win_rate"]
    bounds = f" ({won['low']:.2%} to {won['high']:.2%})" if "low" in won else ""
    yield f"win rate: {won['mean']:.2%} of {found['prompts']:,} prompts{bounds}"
    if "mean_length" in found:
        controlled, lengths = found["length_controlled"], found["mean_length"]
        told = "cannot be told" if controlled is None else f"{controlled:.2%}"
        yield (
            f"at equal length, fitted on these rows: {told}; "
            f"mean length {lengths['model']:,.0f} characters, baseline {lengths['baseline']:,.0f}"
        )
    if "published" in found:
        yield f"length-controlled by the published weights: {found['published']:.2%}"
    if found["unparsed"].rate:
        yield f"without a verdict, left out: {found['unparsed'].rate:.1%} of {found['unparsed'].count:,}"
    if "longer_wins" in found:
        longer = found["longer_wins"]
        yield f"the longer answer wins: {longer.rate:.1%} of {longer.count:,} ({longer.low:.1%} to {longer.high:.1%})"
