"""The figures of train.jsonl to an experiment tracker. Off unless asked for; nothing is sent elsewhere.

Rows are sent when they are written to the log: up to a checkpoint. So a stage that was killed and resumed logs no step
twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
TRACKERS: tuple[TrackerName, ...] = ("tensorboard", "wandb", "mlflow", "trackio")
PROJECT, FOLDER = "tutelage", "tensorboard"
Log = Callable[[int, dict[str, float]], None]
Track = Callable[[Iterable[Mapping[str, Any]]], None]


def import_tracker(name: TrackerName) -> Any:
    """The module of a tracker. ValueError where it is not installed; asked before a run begins."""
    module = "torch.utils.tensorboard" if name == "tensorboard" else name
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"--track {name} needs a package that is missing ({error}): pip install {name}") from error


@contextmanager
def tracker(name: TrackerName | None, run: str, folder: Path, settings: Mapping[str, Any]) -> Iterator[Track]:
    """A function that logs rows of train.jsonl; with None it does nothing.

    run: how the tracker calls it; `folder` is the stage's; `settings` are shown beside it.
    """
    if name is None:
        yield lambda rows: None
        return
    log, close = _OPEN[name](import_tracker(name), run, folder, dict(figures(settings, text=True)))

    def track(rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            log(row["step"], dict(figures({key: value for key, value in row.items() if key != "step"})))

    try:
        yield track
    finally:
        close()


def figures(table: Mapping[str, Any], text: bool = False, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of nested tables by dotted name; with `text` also words."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from figures(value, text, f"{prefix}{key}.")
        elif isinstance(value, int | float) or (text and isinstance(value, str)):
            yield f"{prefix}{key}", value


def _tensorboard(module: Any, run: str, folder: Path, settings: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    writer = module.SummaryWriter(str(folder / FOLDER))
    writer.add_text("settings", "\n".join(f"    {name} = {value}" for name, value in settings.items()))

    def log(step: int, row: dict[str, float]) -> None:
        for name, value in row.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


def _wandb(module: Any, run: str, folder: Path, settings: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    opened = module.init(project=PROJECT, name=run, config=settings)
    return lambda step, row: opened.log(row, step=step), opened.finish


def _mlflow(module: Any, run: str, folder: Path, settings: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    module.set_experiment(PROJECT)
    module.start_run(run_name=run)
    module.log_params(settings)
    return lambda step, row: module.log_metrics(row, step=step), module.end_run


def _trackio(module: Any, run: str, folder: Path, settings: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    module.init(project=PROJECT, name=run, config=settings)
    return lambda step, row: module.log(row, step=step), module.finish


_OPEN: Mapping[TrackerName, Callable[[Any, str, Path, dict[str, Any]], tuple[Log, Callable[[], None]]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
