from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from synth_runs import own_answer

from tutelage import progress


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    progress.set_mode("quiet")
    yield
    progress.set_mode("auto")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A running endpoint that answers each prompt with a sentence of its own: see tests/client/endpoint.py."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    path = Path(__file__).parents[1] / "client" / "endpoint.py"
    spec = importlib.util.spec_from_file_location("endpoint", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Endpoint(own_answer) as running:
        yield running


@pytest.fixture
def prompts(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of prompts."""

    def write(count: int, text: str = "What is known about object {}, please?") -> Path:
        path = tmp_path / "prompts.jsonl"
        rows = ({"prompt": text.replace("{}", str(number)), "gold": str(number)} for number in range(count))
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
