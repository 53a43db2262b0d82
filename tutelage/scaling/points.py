"""Points of a scaling law: parameters, tokens and loss of finished trainings, from a table or from runs."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tutelage.files import read_json, read_text, write_text
from tutelage.model.hub import load_config
from tutelage.model.sizes import ModelConfig, flops_per_token, parameter_count

Count = Literal["matrices", "total", "no_embedding", "unnamed"]
# What N counts. nanochat's ladder gives N ~ C^0.37 to C^0.70 by the count alone.
COUNTS: dict[Count, str] = {
    "matrices": "weights of matrix products, output embedding included",
    "total": "all parameters",
    "no_embedding": "parameters without input, output and position embeddings",
    "unnamed": "the column 'parameters'; the table does not say what it counts",
}
MAX_EPOCHS = 4.0  # up to here, repeated tokens are worth nearly as much as new ones (Muennighoff et al. 2023)
STAGE = "stage.json"
COLUMNS = {*(f"parameters_{name}" for name in COUNTS), "parameters", "tokens", "loss", "flops", "budget", "epochs"}
COLUMNS |= {"finished", "lr", "batch_tokens", "made"}


@dataclass(frozen=True, eq=False, slots=True)
class Points:
    """Finished trainings, float64 [P] each.

    compute: training FLOPs, 6 N D where the table has none.
    budget:  FLOPs that a point was planned for, NaN where it was not part of an isoFLOP set.
    count:   what `parameters` counts.
    dropped: rows left out, by reason.
    made:    the share of made (synthetic) text in the training text; None where no point has any.
    """

    parameters: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    compute: np.ndarray
    budget: np.ndarray
    count: Count
    unit: str
    dropped: dict[str, int]
    made: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.loss)

    def take(self, index: np.ndarray, reason: str) -> Points:
        """The points at `index`; the others count as dropped for this reason."""
        dropped = {**self.dropped, reason: self.dropped.get(reason, 0) + len(self) - len(self.loss[index])}
        return replace(
            self,
            parameters=self.parameters[index],
            tokens=self.tokens[index],
            loss=self.loss[index],
            compute=self.compute[index],
            budget=self.budget[index],
            made=None if self.made is None else self.made[index],
            dropped={name: number for name, number in dropped.items() if number},
        )

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The lowest and highest value of each axis."""
        axes = {"parameters": self.parameters, "tokens": self.tokens, "compute": self.compute}
        axes["tokens_per_parameter"] = self.tokens / self.parameters
        return {name: (float(values.min()), float(values.max())) for name, values in axes.items()}


def drop_lowest_ratios(points: Points, number: int) -> Points:
    """Without the `number` points of the fewest tokens per parameter. 5 of Chinchilla's 245 points move beta from .453
    to .367 (Besiroglu et al. 2024), so a fit must say what it leaves out."""
    order = np.argsort(points.tokens / points.parameters, kind="stable")
    return points.take(np.sort(order[number:]), "fewest tokens per parameter") if number else points


def read_points(path: Path, count: Count | None = None) -> Points:
    """Points from a CSV file with a header.

    Columns: `loss`; `tokens`; `parameters_matrices`, `parameters_total`, `parameters_no_embedding` or `parameters`;
    optional `flops`, `budget`, `epochs`, `finished` (0 or 1) and `made`, the share of made text (0 to 1). `count`
    selects the column of N; None is the first of these that the table has.

    Raises:
        ValueError: a column is missing, or a cell is not a number.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    rows = list(csv.DictReader(lines))
    if not rows:
        raise ValueError(f"{path} holds no rows; the first line must name the columns, such as parameters,tokens,loss")
    return _points([_numbers(row, f"{path}, row {number}") for number, row in enumerate(rows, 1)], count, str(path))


def points_of(rows: Sequence[Mapping[str, Any]], where: str, count: Count | None = None, unit: str = "nats") -> Points:
    """Points from rows with the columns of `read_points`."""
    return _points(rows, count, where, unit)


def load_points(paths: Sequence[Path], count: Count | None = None, made: Collection[str] = ()) -> Points:
    """Points of CSV files or of folders of runs; `made` as in `run_rows`.

    Raises:
        ValueError: files and folders are mixed, or there are no points.
    """
    folders = [path for path in paths if path.is_dir()]
    if not folders and len(paths) == 1:
        return read_points(paths[0], count)
    if len(folders) != len(paths):
        raise ValueError("give one table of points, or folders of runs, and not both")
    rows, skipped = run_rows(folders, made)
    if not rows:
        reasons = "".join(f"; {number} stages left out: {reason}" for reason, number in skipped.items())
        raise ValueError(f"no finished pre-training below {', '.join(map(str, folders))}{reasons}")
    points = points_of(rows, "the runs", count, "nats per token")
    return replace(points, dropped={**points.dropped, **skipped})


def run_rows(folders: Iterable[Path], made: Collection[str] = ()) -> tuple[list[dict[str, float]], Counter[str]]:
    """A row with the columns of `read_points` for every finished stage of pre-training below the folders, and the
    stages left out by reason. `made` names the data sets of made text; loss and epochs are those of the other one."""
    rows, skipped = [], Counter[str]()
    for folder in folders:
        for path in sorted(folder.rglob(STAGE)):
            stage = read_json(path)
            if stage.get("reads") != "documents" or stage.get("settings", {}).get("from"):
                skipped["not pre-training from random weights"] += 1
            elif len(set(stage.get("held_out", {})) - set(made)) != 1:
                skipped["held-out loss of no or several data sets"] += 1
            else:
                rows.append(stage_row(stage, load_config(path.parent), made))
    return rows, skipped


def stage_row(stage: Mapping[str, Any], config: ModelConfig, made: Collection[str] = ()) -> dict[str, float]:
    """The row of a finished stage: its held-out loss is that of the last step, when the schedule has ended."""
    tokens = float(stage["trained_tokens"])
    (loss,), (epochs,) = ([x for name, x in stage[of].items() if name not in made] for of in ("held_out", "epochs"))
    counts = {f"parameters_{name}": float(value) for name, value in parameter_counts(config).items()}
    flops = 6 * counts["parameters_matrices"] * tokens
    finished = float(stage["selected"]["step"] == stage["steps"])
    figures = {"tokens": tokens, "loss": loss, "flops": flops, "epochs": epochs, "finished": finished}
    if made:
        read = stage["trained_by_dataset"]
        figures["made"] = sum(read.get(name, 0.0) for name in made) / sum(read.values())
    return {**counts, **figures, "lr": stage["lr"], "seconds": stage["seconds"]}


def parameter_counts(config: ModelConfig) -> dict[Count, int]:
    """The parameters of a transformer counted in each way of COUNTS."""
    total = parameter_count(config)
    tables = config.vocab * config.width * (1 if config.tied else 2)
    positions = config.context * config.width if config.position == "learned" else 0
    return {
        "matrices": round(flops_per_token(config, 0) / 6),
        "total": total,
        "no_embedding": total - tables - positions,
    }


def write_points(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as the CSV file that `read_points` reads."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


def _points(rows: Sequence[Mapping[str, Any]], count: Count | None, where: str, unit: str = "nats") -> Points:
    columns = {name: np.array([row.get(name, math.nan) for row in rows], np.float64) for name in _names(rows)}
    counts: dict[str, Count] = {f"parameters_{name}": name for name in COUNTS if name != "unnamed"}
    counts["parameters"] = "unnamed"
    wanted = [column for column, name in counts.items() if column in columns and count in (None, name)]
    if not wanted:
        asked = f"no column parameters_{count}" if count else "no column of parameters"
        raise ValueError(f"{where} has {asked}; it has {', '.join(columns)}, and needs one of {', '.join(counts)}")
    for name in ("tokens", "loss"):
        if name not in columns:
            raise ValueError(f"{where} has no column {name!r}; it has {', '.join(columns)}")
    parameters, tokens, loss = columns[wanted[0]], columns["tokens"], columns["loss"]
    nothing = np.full(len(rows), np.nan)
    compute = columns.get("flops", nothing)
    compute = np.where(np.isfinite(compute), compute, 6 * parameters * tokens)
    budget = columns.get("budget", nothing)
    usable = np.all([np.isfinite(values) & (values > 0) for values in (parameters, tokens, loss, compute)], axis=0)
    unfinished = columns.get("finished", np.ones(len(rows))) == 0
    repeated = columns.get("epochs", nothing) > MAX_EPOCHS
    made = np.nan_to_num(columns.get("made", np.zeros(len(rows))))
    if not ((made >= 0) & (made <= 1)).all():
        raise ValueError(f"{where}: the column made holds {made.max():g}; it is a share from 0 to 1")
    shares = made if made.any() else None
    points = Points(parameters, tokens, loss, compute, budget, counts[wanted[0]], unit, {}, shares)
    dropped = {
        "parameters, tokens or loss missing or not positive": ~usable,
        "training stopped before its schedule ended": usable & unfinished,
        f"more than {MAX_EPOCHS:g} epochs": usable & ~unfinished & repeated,
    }
    left = np.arange(len(rows))
    for reason, gone in dropped.items():
        points, left = points.take(~gone[left], reason), left[~gone[left]]
    return points


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The known columns, in the order of the rows."""
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name in COLUMNS]


def _numbers(row: Mapping[str | None, Any], where: str) -> dict[str, float]:
    """The cells of the known columns; an empty cell is NaN."""
    if None in row or None in row.values():
        raise ValueError(f"{where} has more or fewer cells than the header; give each column one cell")
    numbers = {}
    for name, cell in row.items():
        if (column := str(name).strip()) not in COLUMNS:
            continue
        try:
            numbers[column] = float(cell) if cell.strip() else math.nan
        except ValueError:
            raise ValueError(f"{where}, column {column!r}: {cell!r} is not a number") from None
    return numbers
