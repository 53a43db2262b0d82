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
from tutelage.train.checkpoint import TrainState
from tutelage.train.distributed import all_gather_object, is_main_process
from tutelage.train.loop import Hook, StepReport


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
    """A JSON line a step, kept until `flush`; and the progress bar."""

    path: Path
    tally: Tally
    names: Sequence[str]
    lr: float
    bar: Bar
    lines: list[str] = field(default_factory=list)

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

    def flush(self) -> None:
        """Append the lines to the log; the main process alone writes."""
        if is_main_process():
            with self.path.open("a") as log:
                log.writelines(line + "\n" for line in self.lines)
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


def hooks_in_order(tally: Tally, evaluation: EvalHook, log: LogHook, checkpoint: CheckpointHook) -> tuple[Hook, ...]:
    """The hooks of a stage in the order in which each needs what the one before has done."""
    return tally, evaluation, log, checkpoint, tally.resume_clock


def named_by_dataset(means: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Metrics by the names of the datasets in place of their numbers."""
    numbered = {f"loss.{number}": f"loss.{name}" for number, name in enumerate(names)}
    return {numbered.get(name, name): value for name, value in means.items()}
