"""The third outcome, between a problem and health: nothing is wrong, and nothing shows that it worked either."""

from __future__ import annotations

from tutelage.doctor.case import Case, Diagnosis, rate_evidence, row_loss_evidence
from tutelage.doctor.fixes import length_times, override
from tutelage.stages.store_stream import FEWEST_STEPS

NAME = "not-shown-to-work"


def not_shown_to_work(case: Case) -> Diagnosis | None:
    """A fine-tuned stage of hardly any steps, whose answers never keep the chat format, whose loss on held-out rows is
    not shown to have fallen, or of which neither was measured."""
    if not case.is_fine_tuned:
        return None
    steps, evidence = case.stage.info.steps, []
    settings: tuple[str, ...] = ()
    if steps < FEWEST_STEPS:
        evidence.append(f"{steps} optimizer step{'s' * (steps > 1)} in all")
        rows = case.settings.get("batch_rows")
        settings = (override(case, "batch_rows", max(1, rows // 4)) if rows else override(case, "batch_tokens", 256),)
    compliant = case.rates.get("format.compliant")
    if compliant is not None and compliant.rate == 0:
        evidence.append(rate_evidence("answers in the chat format", compliant))
    for name, losses in case.stage.row_losses.items():
        if losses.high >= 0:
            evidence.append(row_loss_evidence(name, losses))
    learns_rows = case.stage.info.reads == "conversations"
    if learns_rows and not (case.rates or case.stage.row_losses or case.stage.questions):
        evidence.append("neither its answers nor its loss on held-out rows were measured")
        settings = settings or (override(case, "held_out", 0.2),)
    if not evidence:
        return None
    return Diagnosis(
        NAME,
        case.stage.name,
        "it is not shown to have learned anything",
        "too little training, or too few held-out rows to tell",
        "smaller steps and more of them, or more held-out rows",
        tuple(evidence),
        settings or length_times(case, 3),
        verdict="not shown",
    )
