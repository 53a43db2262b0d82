"""What a run left in its folder, read back and checked: a broken file is one sentence that names it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np

from tutelage.evaluate.statistics import Rate
from tutelage.files import explain, read_json
from tutelage.ledger import Ledger
from tutelage.recipe import EVALUATION, Run
from tutelage.stages.run import LOG, STAGE
from tutelage.stages.settings import PretrainedModel
from tutelage.train.find_lr import RateSearch

T = TypeVar("T")


class Chosen(msgspec.Struct, frozen=True):
    """Which look's weights became the stage's model, and which the held-out loss alone would have picked."""

    step: int
    by: Literal["behaviour", "loss", "last"]
    score: float | None = None
    lowest_loss_step: int | None = None


class StageFile(msgspec.Struct, frozen=True):
    """What stands in a finished stage's stage.json. A loss that is no number any more is None."""

    name: str
    fingerprint: str
    settings: dict[str, Any]
    lr: float
    parameters: int
    vocab: int
    steps: int
    tokens: int
    trained_tokens: float
    seconds: float
    tokens_per_second: float
    loss: float | None
    held_out: dict[str, float | None]
    passes: dict[str, float]
    trained_by_dataset: dict[str, float]
    ledgers: dict[str, Ledger]
    peak_rss_bytes: int
    loss_start: float | None = None
    environment: dict[str, str | int | float | None] = {}
    chosen: Chosen | None = None
    rate_search: RateSearch | None = None


class Sample(msgspec.Struct, frozen=True):
    """A prompt of a set, how the base model goes on with it, what the stage's model answers, and whether in form."""

    set: str
    prompt: str
    before: str
    after: str
    complies: bool


class Lost(msgspec.Struct, frozen=True):
    """Loss on the base model's held-out text, bits per byte, before and after a stage, and its relative increase."""

    before: float
    after: float
    increase: float
    low: float
    high: float
    alarm: bool


class Written(msgspec.Struct, frozen=True):
    """What a model wrote after a held-out prompt, and what stands there in truth."""

    prompt: str
    written: str
    truth: str


class Look(msgspec.Struct, frozen=True):
    """What was tried when training stopped to look: samples, and how the model behaved, by name, with their mean."""

    step: int
    samples: list[Written] = []
    behaviour: dict[str, Rate] = {}
    score: float | None = None


# Bits of a unit of text before and after a stage, and its bytes, behind the unit's name.
UnitBits = tuple[str, float, float, int]


@dataclass(frozen=True)
class Finished:
    """A finished stage: what it wrote of itself while it was trained, and what its evaluations found.

    log:        figures, a row a step.
    rates:      every rate by its dotted name: "format.seen", "knowledge.trained.reverse".
    outcomes:   for rates that kept them, each item's id and whether it succeeded (1) or not (0).
    samples:    prompts with the answers of the base model and of this one.
    forgetting: what was lost of each data of the pre-training; `bits` holds it unit by unit.
    """

    folder: Path
    info: StageFile
    log: list[dict[str, Any]]
    looks: list[Look]
    rates: dict[str, Rate]
    outcomes: dict[str, list[tuple[str, int]]]
    samples: list[Sample]
    forgetting: dict[str, Lost]
    bits: dict[str, list[UnitBits]]

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def is_fine_tuned(self) -> bool:
        """Whether it was fine-tuned, and is not a base model."""
        return self.info.settings.get("kind") == "sft"


def read_run(run: Run) -> dict[str, Finished]:
    """The finished stages of a run, in order, by name.

    Raises:
        ValueError: a file is broken.
    """
    trained = [name for name, stage in run.recipe.stages.items() if not isinstance(stage, PretrainedModel)]
    return {name: read_stage(run.folder / name) for name in trained if run.stage_done(name)}


def read_stage(folder: Path) -> Finished:
    """A finished stage from its folder; ValueError, naming the file, where one is missing or broken."""
    rates: dict[str, Rate] = {}
    outcomes: dict[str, list[tuple[str, int]]] = {}
    samples: list[Sample] = []
    forgetting: dict[str, Lost] = {}
    bits: dict[str, list[UnitBits]] = {}
    for path in sorted((folder / EVALUATION).glob("*.json")):
        stored = _checked(read_json(path), dict[str, Any], path)
        results = _checked(stored.get("results"), dict[str, Any], path)
        kept = results.get("outcomes", {})
        if path.stem == "forgetting":
            bits = _checked(kept, dict[str, list[UnitBits]], path)
            # Where there is one data only, its figures stand alone; its name is that of its outcomes.
            by_data = results.get("by_data") or dict.fromkeys(list(bits)[:1] or [""], results)
            forgetting = _checked(by_data, dict[str, Lost], path)
            continue
        rates |= _rates(results, path.stem)
        by_rate = _checked(kept, dict[str, list[tuple[str, int]]], path)
        outcomes |= {f"{path.stem}.{name}".removesuffix("."): items for name, items in by_rate.items()}
        if path.stem == "format":
            samples = _checked(results.get("samples", []), list[Sample], path)
    info = _checked(read_json(folder / STAGE), StageFile, folder / STAGE)
    log, looks = _read_log(folder / LOG)
    return Finished(folder, info, log, looks, rates, outcomes, samples, forgetting, bits)


def _checked(value: Any, kind: type[T], path: Path) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"{path} is not what this version writes ({error}); remove it and run the recipe again"
        ) from error


def _read_log(path: Path) -> tuple[list[dict[str, Any]], list[Look]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise explain(error, path, "read") from error
    log, looks = [], []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)  # a loss that is no number any more stands there as NaN, which is not strict JSON
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError(f"{path}, line {number}: this is no step of a training log; run the stage again")
        if row.get("samples") or row.get("behaviour"):
            tried = dict(row.get("behaviour") or {})
            look = {"step": row["step"], "samples": row.get("samples", []), "score": tried.pop("score", None)}
            looks.append(_checked(look | {"behaviour": tried}, Look, path))
        log.append(row)
    return log, looks


def _rates(results: Mapping[str, Any], prefix: str) -> dict[str, Rate]:
    """Every rate in nested results by its dotted name."""
    found = {}
    fields = Rate.__dataclass_fields__
    if all(isinstance(results.get(name), int | float) for name in fields):
        found[prefix] = Rate(**{name: results[name] for name in fields})
    for name, inner in results.items():
        if isinstance(inner, dict):
            found |= _rates(inner, f"{prefix}.{name}")
    return found


def column(log: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which the log has a figure, int64, and the figure, float64; NaN where it is no number."""
    rows = [(row["step"], row[name]) for row in log if name in row]
    values = [float(value) if isinstance(value, int | float) else np.nan for _, value in rows]
    return np.array([step for step, _ in rows], np.int64), np.array(values, np.float64)


def names_under(log: list[dict[str, Any]], prefix: str) -> list[str]:
    """What stands behind a prefix in the names of the log's figures: "world" for "held_out.world"."""
    names = dict.fromkeys(name for row in log for name in row if name.startswith(prefix))
    return [name.removeprefix(prefix) for name in names]


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one table of dotted names, lists whole; what is not set is left out."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat
