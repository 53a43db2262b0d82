"""What can go wrong where a model learns from preferences."""

from __future__ import annotations

import numpy as np

from tutelage.doctor.case import Case, Diagnosis, rate_evidence
from tutelage.doctor.fixes import length_times, lr_times, override
from tutelage.doctor.training import Check
from tutelage.report.read import MeanInterval, column
from tutelage.train.hooks import FIRST_STEP_TOLERANCE

DISPLACED = -0.1  # nats per token that chosen answers lost
CHANCE, LEARNED = 0.5, 0.8  # held-out and training accuracy
AGREES = 0.01  # a margin at the first step that rounding explains


def reference_mismatch(case: Case) -> Diagnosis | None:
    """The margin of the first step was not 0: policy and reference were not one model, or not computed alike."""
    first = case.stage.log[0] if case.stage.log else {}
    margin = first.get("margin")
    if first.get("step") != 1 or not isinstance(margin, int | float) or abs(margin) <= AGREES:
        return None
    if case.settings.get("loss_type") in ("simpo", "orpo"):  # their margin has no reference
        return None
    precision = case.settings.get("precision") or "default"
    what = "policy and reference already differed at the first step"
    why = "they were computed in other precisions, or the reference is another model"
    if precision == "bfloat16" and abs(margin) <= FIRST_STEP_TOLERANCE["bfloat16"]:
        what = "bfloat16 blurs the margins: that of the first step is not 0"
        why = "rounding: in bfloat16 the log-probability of an answer depends on the batch that it is in"
    return Diagnosis(
        "reference-mismatch",
        case.stage.name,
        what,
        why,
        'precision = "float32" for both (--precision float32)',
        (f"margin at step 1: {margin:.3g}, and it must be 0 (precision: {precision})",),
        (override(case, "precision", "float32"),),
    )


def chosen_less_likely(case: Case) -> Diagnosis | None:
    """Chosen answers became less likely, beyond their interval: the model moves away from both answers of a pair, and
    nobody says where to (arXiv 2410.08847)."""
    chosen, rejected = (case.stage.preferences.get(f"{side}_shift") for side in ("chosen", "rejected"))
    if chosen is None or chosen.high is None or chosen.high >= DISPLACED:
        return None
    evidence = [_mean("held-out chosen answers moved by", chosen)]
    if rejected is not None:
        evidence.append(_mean("rejected ones by", rejected))
    return Diagnosis(
        "chosen-less-likely",
        case.stage.name,
        "the chosen answers became less likely than they were",
        "the loss only counts the gap, and pairs that share most of their tokens push both answers down",
        "an NLL term (--nll 0.2), a lower learning rate or fewer epochs, and pairs that differ more",
        tuple(evidence),
        lr_times(case, 1 / 3),
    )


def margin_without_accuracy(case: Case) -> Diagnosis | None:
    """Pairs of training are ranked right, and held-out ones no better than by chance."""
    held_out, trained = case.rates.get("preferences.accuracy"), _late_accuracy(case)
    if held_out is None or held_out.low > CHANCE or trained is None or trained < LEARNED:
        return None
    dataset, epochs = case.most_epochs()
    evidence = [f"pairs of training ranked right in the last quarter of the steps: {trained:.0%}"]
    evidence.append(rate_evidence("held-out preferences ranked right", held_out))
    margin = case.stage.preferences.get("margin")
    evidence += [] if margin is None else [_mean("margin on held-out preferences", margin, "")]
    return Diagnosis(
        "margin-without-accuracy",
        case.stage.name,
        "the margin grows in training, and held-out preferences are ranked by chance",
        f"{epochs:.3g} epochs on too few or too noisy pairs of '{dataset}'",
        "more pairs, fewer epochs or a lower learning rate; label_smoothing where labels may be wrong",
        tuple(evidence),
        length_times(case, 1 / 2) or lr_times(case, 1 / 3),
    )


def _late_accuracy(case: Case) -> float | None:
    values = column(case.stage.log, "accuracy")[1]
    return float(np.nanmean(values[-max(1, len(values) // 4) :])) if len(values) else None


def _mean(label: str, interval: MeanInterval, unit: str = " nats per token") -> str:
    bounds = "" if interval.low is None else f" (95%: {interval.low:+.3g} to {interval.high:+.3g})"
    return f"{label} {interval.mean:+.3g}{unit}{bounds}"


PREFERENCES: tuple[Check, ...] = (reference_mismatch, chosen_less_likely, margin_without_accuracy)
