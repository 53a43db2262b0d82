"""The doctor's round: every stage of a run, every diagnosis."""

from __future__ import annotations

from tutelage.doctor.answers import ANSWERS
from tutelage.doctor.case import Case, Diagnosis
from tutelage.doctor.training import TRAINING
from tutelage.recipe import Run
from tutelage.report.read import read_stage
from tutelage.stages.run import STAGE
from tutelage.stages.settings import PretrainedModel, Sft

# What went wrong in training comes first: it is the cause of much else.
DIAGNOSES = (*TRAINING, *ANSWERS)


def diagnose_run(run: Run, only: str | None = None) -> list[Diagnosis] | None:
    """What is wrong with the finished stages of a run, or with one of them: nothing where nothing is, and None where
    none of them is finished.

    Raises:
        ValueError: a file of the run is broken; the sentence names it.
    """
    cases = cases_of(run, only)
    return [diagnosis for case in cases for diagnosis in diagnose(case)] if cases else None


def cases_of(run: Run, only: str | None = None) -> list[Case]:
    """The finished stages of a run, or one of them, each with what is known of its base."""
    found = []
    for name, stage in run.recipe.stages.items():
        if isinstance(stage, PretrainedModel) or only not in (None, name) or not (run.folder / name / STAGE).exists():
            continue
        base_lr = run.context(name).ancestor(stage)[1].lr if isinstance(stage, Sft) else None
        found.append(Case(read_stage(run.folder / name), base_lr))
    return found


def diagnose(case: Case) -> list[Diagnosis]:
    """What is wrong with a stage, the likeliest root first."""
    return [diagnosis for check in DIAGNOSES if (diagnosis := check(case)) is not None]
