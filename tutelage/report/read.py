"""Reads the files of a run and checks them; the error for a broken file names it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from tutelage.evaluate.statistics import Rate
from tutelage.files import explain, read_json
from tutelage.ledger import Ledger
from tutelage.runner import Run
from tutelage.stages.base import EVALUATIONS, LOG, STAGE, Reads
from tutelage.train.lr_range_test import LrRangeTest
from tutelage.train.selection import Selection

T = TypeVar("T")


class SelectedCheckpoint(msgspec.Struct, frozen=True):
    """Which step's weights became the stage's model, and which the held-out loss alone would have selected."""

    step: int
    by: Selection
    score: float | None = None
    lowest_loss_step: int | None = None


class StageFile(msgspec.Struct, frozen=True):
    """The stage.json of a finished stage. A loss that is not finite is None."""

    name: str
    title: str
    chats: bool
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
    epochs: dict[str, float]
    trained_by_dataset: dict[str, float]
    ledgers: dict[str, Ledger]
    peak_rss_bytes: int
    trained_parameters: int | None = None
    loss_start: float | None = None
    reads: Reads = "conversations"
    loss_unit: str = "nats per token"
    environment: dict[str, str | int | float | None] = {}
    selected: SelectedCheckpoint | None = None
    lr_range_test: LrRangeTest | None = None


class Sample(msgspec.Struct, frozen=True):
    """A prompt of a set, what the base model writes, what the model answers, and whether it keeps the format;
    `reference` is the answer of the data, where there is one."""

    set: str
    prompt: str
    before: str
    after: str
    compliant: bool
    reference: str = ""


class QuestionSample(msgspec.Struct, frozen=True):
    """A question of the user's own, its right answer, and what the models before and after training answer; and the
    training row that has it, "" where none does."""

    id: str
    prompt: str
    gold: str
    before: str
    after: str
    outcome: str
    found_in: str = ""


class Forgetting(msgspec.Struct, frozen=True):
    """Loss on the base model's held-out text, bits per byte, before and after a stage, and its relative increase."""

    before: float
    after: float
    increase: float
    low: float
    high: float
    alarm: bool


class RowLosses(msgspec.Struct, frozen=True):
    """Loss on held-out rows, nats per trained token, before and after a stage, and its relative change."""

    before: float
    after: float
    change: float
    low: float
    high: float
    rows: int


class MeanInterval(msgspec.Struct, frozen=True):
    """A mean over items with its 95% interval, where there were enough of them."""

    mean: float
    low: float | None = None
    high: float | None = None


REWARD_SUITES = ("preferences", "utility", "best_of_n", "hacking")


class StoredResults(msgspec.Struct, frozen=True):
    """The stored results of a suite."""

    rates: dict[str, Rate] = {}
    outcomes: dict[str, Any] = {}
    samples: list[Any] = []
    figures: dict[str, Any] = {}


class Written(msgspec.Struct, frozen=True):
    """A held-out prompt, what the model wrote after it, and its true continuation."""

    prompt: str
    written: str
    truth: str


class EvalStep(msgspec.Struct, frozen=True):
    """An evaluation during training: samples, the rates of the dev eval by name, and their mean."""

    step: int
    samples: list[Written] = []
    dev_eval: dict[str, Rate] = {}
    score: float | None = None


# The number of a piece of text, its bits before and after a stage, and its bytes; or of a row its nats and tokens.
PieceBits = tuple[str, float, float, int]


@dataclass(frozen=True)
class Finished:
    """A finished stage: its stage.json, its training log and the results of its evaluations.

    log:        figures, a row a step.
    rates:      every rate by its dotted name: "format.compliant", "knowledge.trained.reversal".
    outcomes:   for rates that have them, each item's id and whether it succeeded (1) or not (0).
    samples:    prompts with the answers of the base model and of this one.
    forgetting: by dataset of the pre-training; `bits` holds the loss piece by piece.
    row_losses: by dataset of the stage's own rows; `nats` holds the loss row by row.
    questions:  questions of the user's own, with the answers.
    preferences: means over held-out preferences: "margin", "chosen_shift" ...
    rewards:    the results of REWARD_SUITES, which have a section of their own.
    """

    folder: Path
    info: StageFile
    log: list[dict[str, Any]]
    evals: list[EvalStep]
    rates: dict[str, Rate]
    outcomes: dict[str, list[tuple[str, int]]]
    samples: list[Sample]
    forgetting: dict[str, Forgetting]
    bits: dict[str, list[PieceBits]]
    row_losses: dict[str, RowLosses] = field(default_factory=dict)
    nats: dict[str, list[PieceBits]] = field(default_factory=dict)
    preferences: dict[str, MeanInterval] = field(default_factory=dict)
    rewards: dict[str, StoredResults] = field(default_factory=dict)
    questions: list[QuestionSample] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def is_fine_tuned(self) -> bool:
        """Whether it was fine-tuned to chat; False for a base model."""
        return self.info.chats


def read_run(run: Run) -> dict[str, Finished]:
    """The finished stages of a run, in order, by name.

    Raises:
        ValueError: a file is broken.
    """
    return {name: read_stage(run.folder / name) for name in run.trained_stages() if run.stage_done(name)}


def read_stage(folder: Path) -> Finished:
    """A finished stage from its folder; ValueError, naming the file, where one is missing or broken."""
    rates: dict[str, Rate] = {}
    outcomes: dict[str, list[tuple[str, int]]] = {}
    samples: list[Sample] = []
    forgetting: dict[str, Forgetting] = {}
    bits: dict[str, list[PieceBits]] = {}
    row_losses: dict[str, RowLosses] = {}
    nats: dict[str, list[PieceBits]] = {}
    preferences: dict[str, MeanInterval] = {}
    rewards: dict[str, StoredResults] = {}
    questions: list[QuestionSample] = []
    for path in sorted((folder / EVALUATIONS).glob("*.json")):
        stored = _checked(read_json(path), dict[str, Any], path)
        results = _checked(stored.get("results"), StoredResults, path)
        suite = path.stem
        if suite in REWARD_SUITES:
            rewards[suite] = results
        if suite == "forgetting":
            bits = _checked(results.outcomes, dict[str, list[PieceBits]], path)
            forgetting = _checked(results.figures.get("by_data"), dict[str, Forgetting], path)
            continue
        if suite == "held_out_rows":
            nats = _checked(results.outcomes, dict[str, list[PieceBits]], path)
            row_losses = _checked(results.figures.get("by_data"), dict[str, RowLosses], path)
            continue
        rates |= {f"{suite}.{name}": rate for name, rate in results.rates.items()}
        outcomes |= {
            f"{suite}.{name}": items
            for name, items in _checked(results.outcomes, dict[str, list[tuple[str, int]]], path).items()
        }
        if suite == "preferences":
            means = {name: of for name, of in results.figures.items() if name != "calibration"}
            preferences = _checked(means, dict[str, MeanInterval], path)
        if suite == "questions":
            questions = _checked(results.samples, list[QuestionSample], path)
        if suite == "format":
            samples = _checked(results.samples, list[Sample], path)
    info = _checked(read_json(folder / STAGE), StageFile, folder / STAGE)
    log, evals = read_log(folder / LOG)
    of_rows = row_losses, nats, preferences, rewards, questions
    return Finished(folder, info, log, evals, rates, outcomes, samples, forgetting, bits, *of_rows)


def _checked(value: Any, kind: type[T], path: Path) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"{path} does not match this version's format ({error}); remove it and run the recipe again"
        ) from error


def read_log(path: Path, growing: bool = False) -> tuple[list[dict[str, Any]], list[EvalStep]]:
    """The steps of a training log, and its evaluations. The last line of a `growing` log may be incomplete, and is left
    out.

    Raises:
        ValueError: a line is no step.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise explain(error, path, "read") from error
    lines = (text[: text.rfind("\n") + 1] if growing else text).splitlines()
    log, evals = [], []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)  # a loss that is not finite is written as NaN, which is not strict JSON
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError(f"{path}, line {number}: this is not a step of a training log; run the stage again")
        if row.get("samples") or row.get("dev_eval"):
            rates = dict(row.get("dev_eval") or {})
            figures = {"step": row["step"], "samples": row.get("samples", []), "score": rates.pop("score", None)}
            evals.append(_checked(figures | {"dev_eval": rates}, EvalStep, path))
        log.append(row)
    return log, evals


def column(log: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which the log has a figure, int64, and the figure, float64; NaN where it is not a number."""
    rows = [(row["step"], row[name]) for row in log if name in row]
    values = [float(value) if isinstance(value, int | float) else np.nan for _, value in rows]
    return np.array([step for step, _ in rows], np.int64), np.array(values, np.float64)


def names_under(log: list[dict[str, Any]], prefix: str) -> list[str]:
    """The names of the log's figures with a prefix, without it: "world" for "held_out.world"."""
    names = dict.fromkeys(name for row in log for name in row if name.startswith(prefix))
    return [name.removeprefix(prefix) for name in names]


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one table of dotted names; lists are values, and unset settings are left out."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat
