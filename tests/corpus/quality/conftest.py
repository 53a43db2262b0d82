from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage import progress


@pytest.fixture
def endpoint() -> Iterator[Any]:
    """A running endpoint that judges by a rule: see tests/client/endpoint.py."""
    progress.set_mode("quiet")
    path = Path(__file__).parents[2] / "client" / "endpoint.py"
    spec = importlib.util.spec_from_file_location("endpoint", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Endpoint() as running:
        yield running
    progress.set_mode("auto")
