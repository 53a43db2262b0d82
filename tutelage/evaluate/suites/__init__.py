"""The evaluations that a recipe can name: one file each."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.evaluate.results import Suite
from tutelage.evaluate.suites import before, forgetting, format, held_out_rows, knowledge, preferences, questions

_ORDERED = (preferences, questions, format, knowledge, held_out_rows, forgetting, before)
SUITES: Mapping[str, Suite] = {module.SUITE.name: module.SUITE for module in _ORDERED}
