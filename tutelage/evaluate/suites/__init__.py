"""The evaluations that a recipe can name: one file each."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.evaluate.results import Suite
from tutelage.evaluate.suites import before, forgetting, format, held_out_rows, knowledge

SUITES: Mapping[str, Suite] = {
    suite.name: suite for suite in (format.SUITE, knowledge.SUITE, held_out_rows.SUITE, forgetting.SUITE, before.SUITE)
}
