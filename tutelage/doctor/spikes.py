"""Loss spikes: single steps whose rows are unlike all others."""

from __future__ import annotations

from tutelage.doctor.case import Case, Diagnosis
from tutelage.report.read import column
from tutelage.report.spikes import find_spikes

SHOWN = 3


def loss_spike(case: Case) -> Diagnosis | None:
    """Steps whose loss stands far above that of the steps around, in a run that did not diverge."""
    spikes = find_spikes(*column(case.stage.log, "loss"))
    if not spikes:
        return None
    return Diagnosis(
        "loss-spike",
        case.stage.name,
        f"the loss jumps at {len(spikes):,} of {case.stage.info.steps:,} steps and comes back",
        "rows of these steps are unlike all others: repeated characters, another language, broken text",
        f"look at the rows of the step, the least usual first: tutelage look {case.stage.folder} --spikes",
        tuple(f"step {spike.step:,}: loss {spike.loss:.3f}, {spike.usual:.3f} around it" for spike in spikes[:SHOWN]),
    )
