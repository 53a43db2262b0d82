"""The evaluations that a recipe can name: one file each."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.evaluate.results import Suite
from tutelage.evaluate.suites import (
    before,
    benchmarks,
    best_of_n,
    classification,
    copying,
    forgetting,
    format,
    hacking,
    held_out_rows,
    knowing,
    knowledge,
    preferences,
    questions,
    spans,
    tags,
    tasks,
    turns,
    utility,
)

_ORDERED = (
    tasks,
    preferences,
    questions,
    benchmarks,
    utility,
    best_of_n,
    hacking,
    format,
    knowledge,
    copying,
    knowing,
    classification,
    tags,
    spans,
    turns,
    held_out_rows,
    forgetting,
    before,
)
SUITES: Mapping[str, Suite] = {module.SUITE.name: module.SUITE for module in _ORDERED}
