"""The evaluations that a recipe can name: one file each."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.evaluate.results import Suite
from tutelage.evaluate.suites import before, forgetting, format, knowledge, preferences

SUITES: Mapping[str, Suite] = {
    suite.name: suite for suite in (preferences.SUITE, format.SUITE, knowledge.SUITE, forgetting.SUITE, before.SUITE)
}
