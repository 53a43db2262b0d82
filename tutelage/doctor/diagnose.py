"""Runs every diagnosis on every finished stage of a run."""

from __future__ import annotations

from tutelage.doctor.answers import ANSWERS, base_forgotten
from tutelage.doctor.case import Case, Diagnosis
from tutelage.doctor.not_shown import not_shown_to_work
from tutelage.doctor.policies import POLICIES
from tutelage.doctor.preferences import PREFERENCES
from tutelage.doctor.spikes import loss_spike
from tutelage.doctor.training import TRAINING, rows_lost
from tutelage.report.read import read_stage
from tutelage.runner import Run
from tutelage.stages.base import STAGE

# What went wrong in training comes first: it causes much of the rest.
DIAGNOSES = (*TRAINING, loss_spike, *ANSWERS)
# Of stages that learn from preferences; most others ask whether a stage has learned to answer.
OF_PREFERENCES = (*PREFERENCES, rows_lost, base_forgotten)
# Of stages that sample answers and learn from their rewards.
OF_POLICIES = (*POLICIES, rows_lost, base_forgotten)


def diagnose_run(run: Run, only: str | None = None) -> list[Diagnosis] | None:
    """What is wrong with the finished stages of a run, or with one of them: an empty list where nothing is, and None
    where none of them is finished.

    Raises:
        ValueError: a file of the run is broken; the message names it.
    """
    cases = cases_of(run, only)
    return [diagnosis for case in cases for diagnosis in diagnose(case)] if cases else None


def cases_of(run: Run, only: str | None = None) -> list[Case]:
    """The finished stages of a run, or one of them, each with the learning rate of its base model."""
    cases = []
    for name, stage in run.trained_stages().items():
        if only not in (None, name) or not (run.folder / name / STAGE).exists():
            continue
        base_lr = run.context(name).base(stage)[1].lr if stage.fine_tunes else None
        cases.append(Case(read_stage(run.folder / name), base_lr))
    return cases


def diagnose(case: Case) -> list[Diagnosis]:
    """What is wrong with a stage, the likeliest root cause first; where nothing is, whether it is shown to work."""
    checks = {"preferences": OF_PREFERENCES, "prompts": OF_POLICIES}.get(case.stage.info.reads, DIAGNOSES)
    found = [diagnosis for check in checks if (diagnosis := check(case)) is not None]
    unshown = None if found else not_shown_to_work(case)
    return found if unshown is None else [unshown]
