"""The report of runs while they train: what is there of each stage, read from its files, and never written."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.html import Html, Series, badge, columns, line_plot, link, page, paragraph, section, table
from tutelage.recipe import read_recipe
from tutelage.report.curves import smooth
from tutelage.report.page import lead, report_parts, style
from tutelage.report.read import EvalStep, Finished, column, names_under, read_log, read_stage
from tutelage.report.training import training_so_far
from tutelage.runner import Run
from tutelage.stages.base import EVALUATIONS, LOG, RECIPE, STAGE, SUMMARY

WATCHED = (RECIPE, SUMMARY, f"*/{STAGE}", f"*/{LOG}", f"*/{EVALUATIONS}/*.json")
State = Literal["waiting", "training", "finished"]
HEADINGS = ("stage", "", "step", "loss", "held out", "last step")


@dataclass(frozen=True)
class StageNow:
    """A stage of a run at this moment.

    steps:    how many it will have; 0 where that is not known before it ends.
    written:  when its log was last written, in seconds since the epoch; 0 where there is none.
    finished: None while it trains; without any step of it the log is empty.
    """

    name: str
    title: str
    loss_unit: str
    steps: int
    log: list[dict[str, Any]]
    evals: list[EvalStep]
    written: float
    finished: Finished | None

    @property
    def state(self) -> State:
        """One word for a table."""
        return "finished" if self.finished else "training" if self.log else "waiting"

    def last(self, name: str) -> float | None:
        """The newest value of a figure of the log."""
        _, values = column(self.log, name)
        return float(values[-1]) if len(values) else None

    def cells(self) -> list[str]:
        """What a table says of it: step, loss, held-out losses, and the time of the last step."""
        step = self.log[-1]["step"] if self.log else 0
        of = self.finished.info.steps if self.finished else self.steps
        held_out = [self.last(f"held_out.{name}") for name in names_under(self.log, "held_out.")]
        return [
            f"{step:,}" + (f" of {of:,}" if of else ""),
            _number(self.last("loss")),
            " ".join(map(_number, held_out)) or "–",
            _clock(self.written) if self.written else "–",
        ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _clock(seconds: float) -> str:
    """A time of today as hours, minutes and seconds; of another day with its date."""
    moment, today = time.localtime(seconds), time.localtime()
    same = (moment.tm_year, moment.tm_yday) == (today.tm_year, today.tm_yday)
    return time.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M", moment)


def open_run(folder: Path) -> Run:
    """The run in a folder, by its recipe.

    Raises:
        ValueError: there is none.
    """
    if not (folder / RECIPE).exists():
        raise ValueError(f"{folder} is no run: there is no {RECIPE} in it; give the folder of a run that has begun")
    return Run(read_recipe(folder / RECIPE), folder)


def read_now(run: Run) -> list[StageNow]:
    """The stages of a run, in order, whatever is there of each.

    Raises:
        ValueError: a file of the run is broken.
    """
    stages = []
    for name, stage in run.trained_stages().items():
        folder = run.folder / name
        finished = read_stage(folder) if (folder / STAGE).exists() else None
        log, evals = (finished.log, finished.evals) if finished else ([], [])
        written = 0.0
        if (folder / LOG).exists():
            written = (folder / LOG).stat().st_mtime
            if finished is None:
                log, evals = read_log(folder / LOG, growing=True)
        stages.append(StageNow(name, stage.title, stage.loss_unit, stage.steps or 0, log, evals, written, finished))
    return stages


def version(folders: Sequence[Path]) -> str:
    """A digest that changes with every file that the page shows."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for pattern in WATCHED for path in folder.glob(pattern)):
            try:
                status = path.stat()
            except FileNotFoundError:  # a file that is replaced at this moment
                continue
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def run_page(run: Run, diagnoses: Html | None, script: str, overview: bool = False) -> str:
    """The report of one run so far; `diagnoses` is a section for its finished stages. With `overview` it links to the
    page of all runs."""
    stages = read_now(run)
    finished = {stage.name: stage.finished for stage in stages if stage.finished}
    rows = [_row(stage) for stage in stages]
    now = [
        training_so_far(stage.name, stage.title, stage.loss_unit, stage.log, stage.evals, stage.steps)
        for stage in stages
        if stage.state == "training"
    ]
    parts = [
        *([paragraph(link("all runs", "../"))] if overview else []),
        section("Stages", table(HEADINGS, rows, numeric=(2, 3, 4, 5))),
        *now,
        *report_parts(run, finished, [diagnoses], None),
    ]
    return page(f"Watching: {run.recipe.name}", parts, lead(finished), script=script, asks_server=True)


def _row(stage: StageNow) -> list[str | Html]:
    state = stage.state if stage.state == "waiting" else badge(stage.state, "good" if stage.finished else "plain")
    return [stage.name, state, *stage.cells()]


def overview_page(runs: Sequence[Run], script: str) -> str:
    """Several runs side by side: where each is, and their curves on common axes, a section for each stage name."""
    labels = short_names([run.folder for run in runs])
    now = {label: read_now(run) for label, run in zip(labels, runs, strict=True)}
    links = {label: link(label, f"run/{number}") for number, label in enumerate(labels)}
    rows = [[links[label], *_row(stage)] for label, stages in now.items() for stage in stages]
    parts = [style(), section("Stages", table(("run", *HEADINGS), rows, numeric=(3, 4, 5, 6)))]
    for name in dict.fromkeys(stage.name for stages in now.values() for stage in stages):
        logs = {label: stage for label, stages in now.items() for stage in stages if stage.name == name and stage.log}
        if logs:
            parts.append(section(name, columns(*_curves(logs))))
    note = paragraph(f"{len(runs)} runs side by side; open one for its samples, evaluations and diagnoses.")
    return page("Watching", parts, note, script=script, asks_server=True)


def short_names(folders: Sequence[Path]) -> list[str]:
    """The ends of these paths that tell them apart, from the fewest parts."""
    for parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [f"{folder} ({number})" for number, folder in enumerate(folders, 1)]


def _curves(stages: dict[str, StageNow]) -> list[Html]:
    """Loss, held-out loss, reward and dev eval of one stage in several runs."""
    unit = f"loss ({next(iter(stages.values())).loss_unit})"
    loss = [smooth(*column(stage.log, "loss"), label) for label, stage in stages.items()]
    plots = [line_plot(loss, x_label="step", y_label=unit, title="Training loss")]
    held_out = [
        Series(f"{label}, {name}", *column(stage.log, f"held_out.{name}"))
        for label, stage in stages.items()
        for name in names_under(stage.log, "held_out.")
    ]
    if any(len(curve.x) > 1 for curve in held_out):  # a single point is not a curve; it is in the table
        plots.append(line_plot(held_out, x_label="step", y_label=unit, title="Held-out loss"))
    rewards = [smooth(*column(stage.log, "reward"), label) for label, stage in stages.items()]
    if any(len(curve.x) for curve in rewards):
        plots.append(line_plot(rewards, x_label="step", y_label="reward", title="Reward"))
    scores = []
    for label, stage in stages.items():
        rows = [(eval_step.step, eval_step.score) for eval_step in stage.evals if eval_step.score is not None]
        scores.append(Series(label, [step for step, _ in rows], [score for _, score in rows]))
    if any(len(curve.x) > 1 for curve in scores):
        plots.append(line_plot(scores, x_label="step", y_label="score", percent=True, title="Dev eval"))
    return plots
