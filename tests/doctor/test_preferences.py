from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tutelage.doctor.case import Case
from tutelage.doctor.diagnose import diagnose
from tutelage.evaluate.statistics import rate
from tutelage.report.read import MeanInterval


def case_of(healthy: Case, first_margin: float, accuracy: int, means: dict[str, MeanInterval], **settings: Any) -> Case:
    """A stage that learned pairs: the margin of its first step, held-out pairs of 100 ranked right, and means."""
    log = [{"step": n + 1, "loss": 0.6, "margin": first_margin + n, "accuracy": 0.9} for n in range(8)]
    info = msgspec.structs.replace(healthy.stage.info, reads="preferences", settings=settings)
    rates = {"preferences.accuracy": rate(accuracy, 100)}
    return replace(healthy, stage=replace(healthy.stage, info=info, log=log, rates=rates, preferences=means))


FELL = {"chosen_shift": MeanInterval(-0.5, -0.6, -0.4), "rejected_shift": MeanInterval(-0.9, -1.0, -0.8)}


@pytest.mark.parametrize(
    ("margin", "accuracy", "means", "settings", "found"),
    [
        (0.0, 70, {"chosen_shift": MeanInterval(0.1, 0.05, 0.15)}, {}, []),
        (0.0, 70, FELL, {}, ["chosen-less-likely"]),
        (0.0, 70, {"chosen_shift": MeanInterval(-0.2, -0.35, -0.05)}, {}, []),  # within its interval
        (0.0, 70, {"chosen_shift": MeanInterval(-0.5)}, {}, []),  # one pair has no interval
        (0.0, 52, {"margin": MeanInterval(0.4, 0.1, 0.7)}, {}, ["margin-without-accuracy"]),
        (0.5, 70, {}, {}, ["reference-mismatch"]),
        (0.5, 70, {}, {"loss_type": "simpo"}, []),
        (0.5, 52, FELL, {}, ["reference-mismatch", "chosen-less-likely", "margin-without-accuracy"]),
    ],
)
def test_one_bad_figure_makes_a_diagnosis(
    healthy: Case,
    margin: float,
    accuracy: int,
    means: dict[str, MeanInterval],
    settings: dict[str, Any],
    found: list[str],
) -> None:
    case = case_of(healthy, margin, accuracy, means, **settings)
    diagnoses = diagnose(case)
    assert [diagnosis.name for diagnosis in diagnoses] == found
    assert all(any(sign.isdigit() for sign in figure) for one in diagnoses for figure in one.evidence)


@pytest.mark.parametrize(("margin", "blurred"), [(0.04, True), (0.5, False)])
def test_a_small_first_margin_in_bfloat16_is_rounding(healthy: Case, margin: float, blurred: bool) -> None:
    """Seen on SmolLM2-135M: -0.04, with the right reference."""
    (diagnosis,) = diagnose(case_of(healthy, margin, 70, {}, precision="bfloat16"))
    assert diagnosis.name == "reference-mismatch"
    assert ("rounding" in diagnosis.cause) is blurred
