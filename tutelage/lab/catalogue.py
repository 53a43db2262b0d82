"""All findings that can be replicated, by number: one file each in the package `findings`; and those of them that
are measured on a published checkpoint too, in `on_models`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from tutelage.lab import findings, on_models
from tutelage.lab.finding import Finding, ModelMeasurement
from tutelage.lab.page import is_stale
from tutelage.lab.results import FindingResult, order


def _load() -> dict[str, Finding]:
    modules = [import_module(f"{findings.__name__}.{module.name}") for module in iter_modules(findings.__path__)]
    found: list[Finding] = [module.FINDING for module in modules]
    by_number = {finding.number: finding for finding in sorted(found, key=lambda finding: order(finding.number))}
    assert len(by_number) == len(found), "a number names one finding"
    return by_number


def _load_measurements() -> dict[str, ModelMeasurement]:
    modules = [import_module(f"{on_models.__name__}.{module.name}") for module in iter_modules(on_models.__path__)]
    return {module.MEASUREMENT.number: module.MEASUREMENT for module in modules}


FINDINGS = _load()
MEASUREMENTS = _load_measurements()


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


def find_measurement(number: str) -> ModelMeasurement:
    """A finding's measurement on a checkpoint.

    Raises:
        ValueError: it has none; the message lists the findings that have one.
    """
    find(number)
    if number not in MEASUREMENTS:
        known = ", ".join(sorted(MEASUREMENTS, key=order))
        raise ValueError(f"finding {number} is not measured on a checkpoint; leave --model out, or choose {known}")
    return MEASUREMENTS[number]
