"""All findings that can be replicated, by number."""

from __future__ import annotations

from tutelage.lab.finding import Finding
from tutelage.lab.findings import (
    answer_length,
    base_sometimes,
    cold_start,
    comparing,
    direct_preferences,
    early_reasoning,
    forgetting,
    frequent_tasks,
    isoflop,
    knowledge_extraction,
    labeller_taste,
    learning_rate,
    loss_and_compute,
    machine_labels,
    majority_vote,
    mask,
    memorise_generalise,
    memorised_copies,
    one_style,
    own_solutions,
    rate_and_size,
    reward_hacking,
    rl_needs_format,
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
    memorise_generalise,
    reward_hacking,
    direct_preferences,
    isoflop,
    memorised_copies,
    worked_thought,
    majority_vote,
    early_reasoning,
    frequent_tasks,
    cold_start,
    comparing,
    answer_length,
    style_locking,
    own_solutions,
    rl_needs_format,
    machine_labels,
    labeller_taste,
    base_sometimes,
    one_style,
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
