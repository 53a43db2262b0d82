from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tutelage import progress
from tutelage.evaluate.suites import SUITES
from tutelage.runner import Run


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    progress.set_mode("quiet")
    yield
    progress.set_mode("auto")


@pytest.fixture(scope="session")
def format_results(tales_run: Run) -> dict[str, Any]:
    """The format suite's results on a chat stage, as they are stored."""
    return SUITES["format"].run(tales_run.session("chat")).to_plain()
