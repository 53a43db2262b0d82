"""All findings that can be replicated, by number."""

from __future__ import annotations

from tutelage.lab.finding import Finding
from tutelage.lab.findings import (
    answer_length,
    base_sometimes,
    cold_start,
    comparing,
    forgetting,
    isoflop,
    knowledge_extraction,
    learning_rate,
    loss_and_compute,
    majority_vote,
    mask,
    memorised_copies,
    rate_and_size,
    style_locking,
    task_diversity,
    token_shift,
    worked_thought,
)
from tutelage.lab.results import order

MODULES = (
    mask,
    learning_rate,
    forgetting,
    task_diversity,
    knowledge_extraction,
    token_shift,
    isoflop,
    memorised_copies,
    worked_thought,
    majority_vote,
    cold_start,
    comparing,
    answer_length,
    style_locking,
    base_sometimes,
    loss_and_compute,
    rate_and_size,
)
FINDINGS: dict[str, Finding] = {module.FINDING.number: module.FINDING for module in MODULES}
assert list(FINDINGS) == sorted(FINDINGS, key=order), "findings are listed in order"


def find(number: str) -> Finding:
    """A finding by its number.

    Raises:
        ValueError: there is no such finding; the message lists the existing numbers.
    """
    if number not in FINDINGS:
        raise ValueError(f"there is no finding {number} in the lab; choose one of {', '.join(FINDINGS)}")
    return FINDINGS[number]
