"""What happens after each optimizer step: the state is counted on, the model is evaluated, a line is logged, a
checkpoint is saved. Hooks take callables and run in this order; none of them knows what a stage is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.batching.loader import DataState
from tutelage.process import Stopped
from tutelage.progress import Bar
from tutelage.tracking import Track
from tutelage.train.checkpoint import TrainState
from tutelage.train.distributed import all_gather_object, is_main_process
from tutelage.train.loop import Hook, Precision, StepReport


@dataclass
class Tally:
    """How far the stage has come, counted on from a checkpoint. `before` is the data state before the last step.

    Its time is that of training alone: `resume_clock` is the last hook of a step, so that evaluation and checkpoints do
    not count.
    """

    state: TrainState
    before: DataState = None
    began: float = field(default_factory=time.monotonic)

    def __call__(self, report: StepReport) -> None:
        old = self.state
        self.before = old.data
        self.state = replace(
            old,
            step=report.done,
            data=report.state,
            tokens=old.tokens + report.tokens,
            trained_tokens=old.trained_tokens + report.trained_tokens,
            seconds=old.seconds + time.monotonic() - self.began,
        )

    def resume_clock(self, report: StepReport) -> None:
        self.began = time.monotonic()


LOG_SECONDS = 2.0
# How far a metric of the first step may be from what it must be: products in bfloat16 depend on the batch's shape.
FIRST_STEP_TOLERANCE: Mapping[Precision, float] = {"float32": 1e-3, "bfloat16": 0.1}


class FirstStepError(ValueError):
    """A metric of the first step is not what the loss says it must be before any weight has changed."""


@dataclass(frozen=True)
class FirstStepCheck:
    """Compares the metrics of the first step with `Loss.first_step`. `settings` says what policy and reference are.

    Raises:
        FirstStepError: they differ by more than the precision's tolerance.
    """

    expected: Mapping[str, float]
    precision: Precision
    settings: str

    def __call__(self, report: StepReport) -> None:
        means = report.metrics.means() if report.done == 1 else {}
        tolerance = FIRST_STEP_TOLERANCE[self.precision]
        for name, value in self.expected.items():
            if name in means and not abs(means[name] - value) <= tolerance:
                raise FirstStepError(
                    f"step 1: {name} is {means[name]:.6g}, but before any weight has changed it must be {value:.6g} "
                    f"(tolerance {tolerance:g} in {self.precision}); policy and reference are not the same model: "
                    f"{self.settings}. Delete the run's folder data/ to compute the reference again, and set one "
                    "precision for both"
                )


@dataclass(frozen=True)
class EvalHook:
    """Adds the figures of an evaluation to the report of the steps where one is due."""

    due: Callable[[StepReport], bool]
    evaluate: Callable[[StepReport], Mapping[str, Any]]

    def __call__(self, report: StepReport) -> None:
        if self.due(report):
            report.figures.update(self.evaluate(report))


@dataclass
class LogHook:
    """A JSON line a step; and the progress bar. Lines are written, also to `track`, with a checkpoint and, for those
    who watch, every LOG_SECONDS; a run that is resumed from an earlier checkpoint cuts later lines off the file."""

    path: Path
    tally: Tally
    names: Sequence[str]
    lr: float
    bar: Bar
    track: Track = lambda rows: None
    lines: list[str] = field(default_factory=list)
    written: float = field(default_factory=time.monotonic)

    def __call__(self, report: StepReport) -> None:
        state = self.tally.state
        means = named_by_dataset(report.metrics.means(), self.names)
        line = {
            "step": report.done,
            **means,
            "lr": self.lr * report.lr_factor,
            "gradient_norm": report.gradient_norm,
            "tokens": state.tokens,
            "trained_tokens": state.trained_tokens,
            **report.figures,
        }
        self.lines.append(json.dumps(line))
        speed = state.tokens / max(state.seconds, 1e-9)
        self.bar.update(1, {**means, "lr": line["lr"], "tokens/s": speed})
        if time.monotonic() - self.written >= LOG_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Append the lines to the log; the main process alone writes."""
        self.written = time.monotonic()
        if is_main_process():
            with self.path.open("a") as log:
                log.writelines(line + "\n" for line in self.lines)
            self.track(map(json.loads, self.lines))
        self.lines.clear()


@dataclass
class CheckpointHook:
    """Saves at the last step, every `seconds`, and when a stop was requested.

    save: writes the log, then the checkpoint: lines beyond the checkpoint are cut when the stage is resumed.
    keep: writes the weights as a model of their own, every `keep_every` steps where that is not 0.

    Raises:
        Stopped: a stop was requested; everything up to this step is saved.
    """

    save: Callable[[], None]
    keep: Callable[[int], None]
    keep_every: int
    seconds: float
    steps: int
    stop_requested: Callable[[], bool]
    label: str
    saved: float = field(default_factory=time.monotonic)

    def __call__(self, report: StepReport) -> None:
        last = report.done == self.steps
        if self.keep_every and report.done % self.keep_every == 0:
            self.keep(report.done)
        # The main process's clock decides, and any process may be the one that is asked to stop.
        asked = all_gather_object([self.stop_requested(), time.monotonic() - self.saved >= self.seconds])
        stopping = any(stop for stop, _ in asked) and not last
        if last or stopping or asked[0][1]:
            self.save()
            self.saved = time.monotonic()
        if stopping:
            raise Stopped(f"stopped after step {report.done} of {self.steps} of stage {self.label}")


def hooks_in_order(
    check: FirstStepCheck, tally: Tally, data: Hook, evaluation: EvalHook, log: LogHook, checkpoint: CheckpointHook
) -> tuple[Hook, ...]:
    """The hooks of a stage in the order in which each needs what the one before has done. `data` adds the figures of
    the step's data."""
    return check, tally, data, evaluation, log, checkpoint, tally.resume_clock


def named_by_dataset(means: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Metrics by the names of the datasets in place of their numbers."""
    numbered = {f"loss.{number}": f"loss.{name}" for number, name in enumerate(names)}
    return {numbered.get(name, name): value for name, value in means.items()}
