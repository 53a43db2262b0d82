"""All findings that can be replicated, by number: one file each in the package `findings`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from tutelage.lab import findings
from tutelage.lab.finding import Finding
from tutelage.lab.page import is_stale
from tutelage.lab.results import FindingResult, order


def _load() -> dict[str, Finding]:
    modules = [import_module(f"{findings.__name__}.{module.name}") for module in iter_modules(findings.__path__)]
    found: list[Finding] = [module.FINDING for module in modules]
    by_number = {finding.number: finding for finding in sorted(found, key=lambda finding: order(finding.number))}
    assert len(by_number) == len(found), "a number names one finding"
    return by_number


FINDINGS = _load()


def is_current(result: FindingResult) -> bool:
    """Whether a result is of this version and of the finding's recipe as it is now."""
    return not is_stale(result) and result.recipe == FINDINGS[result.number].recipe


def find(number: str) -> Finding:
    """A finding by its number.

    Raises:
        ValueError: there is no such finding; the message lists the existing numbers.
    """
    if number not in FINDINGS:
        raise ValueError(f"there is no finding {number} in the lab; choose one of {', '.join(FINDINGS)}")
    return FINDINGS[number]
