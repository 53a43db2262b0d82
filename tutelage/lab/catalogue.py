"""All findings that can be replicated, by number."""

from __future__ import annotations

from tutelage.lab.finding import Finding
from tutelage.lab.findings import forgetting, knowledge_extraction, learning_rate, mask

FINDINGS: dict[int, Finding] = {
    module.FINDING.number: module.FINDING for module in (mask, learning_rate, forgetting, knowledge_extraction)
}


def find(number: int) -> Finding:
    """A finding by its number.

    Raises:
        ValueError: there is no such finding; the message lists the existing numbers.
    """
    if number not in FINDINGS:
        raise ValueError(f"there is no finding {number} in the lab; choose one of {', '.join(map(str, FINDINGS))}")
    return FINDINGS[number]
