"""The report of a run: one HTML page with its evaluations, training curves, data ledger, cost and recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from tutelage.files import write_text
from tutelage.html import Html, page, tag
from tutelage.predicted import predictions
from tutelage.report.cost import costs, ledgers
from tutelage.report.evaluation import evaluations, key_figures, result_sentence
from tutelage.report.lineage import recipe
from tutelage.report.read import Finished, read_run
from tutelage.report.rewards import rewards
from tutelage.report.rollouts import rollouts
from tutelage.report.row import trained_row
from tutelage.report.samples import before_and_after, own_questions
from tutelage.report.training import training
from tutelage.runner import Run

REPORT = "report.html"


def write_report(run: Run, more: Sequence[Html | None] = ()) -> Path:
    """Write DIR/report.html from the files of the run's finished stages; missing parts are left out. `more` are
    sections to show below the key figures.

    Raises:
        ValueError: a file of the run is broken; the message names it.
        DiskError: the file cannot be written.
    """
    path = run.folder / REPORT
    write_text(path, report_page(run, read_run(run), more))
    return path


def report_page(run: Run, stages: Mapping[str, Finished], more: Sequence[Html | None] = ()) -> str:
    """The page, from the finished stages of a run; `more` as in `write_report`."""
    return page(f"Report: {run.recipe.name}", report_parts(run, stages, more, trained_row(run, stages)), lead(stages))


def lead(stages: Mapping[str, Finished]) -> str:
    """The result of a run in one sentence."""
    return result_sentence(stages) if stages else "No stage of this run is finished yet."


def report_parts(run: Run, stages: Mapping[str, Finished], more: Sequence[Html | None], row: Html | None) -> list[Html]:
    """The sections of the page; `row` is that of `trained_row`, which may tokenise the data again."""
    listed = list(stages.values())
    bases = {name: run.context(name).base(stage)[0] for name, stage in run.trained_stages().items() if stage.fine_tunes}
    parts = [
        style(),
        tag("section", key_figures(stages, run.summary().get("seconds"))) if stages else None,
        *more,
        evaluations(stages),
        rewards(listed),
        rollouts(listed),
        own_questions(listed),
        before_and_after(listed, bases),
        training(listed, bases),
        row,
        ledgers(listed),
        costs(listed, predictions(run)),
        recipe(run, stages),
    ]
    return [part for part in parts if part is not None]


def style() -> Html:
    """The CSS that only reports need."""
    return tag("style", Html(resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")))
