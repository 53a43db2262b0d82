from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import tutelage

CHECKOUT = Path(tutelage.__file__).parents[1]
CORE = {
    "torch", "tokenizers", "safetensors", "msgspec", "numpy", "jinja2", "pyarrow", "numba", "rich", "click", "httpx2",
    "backports",
}  # fmt: skip
# Packages that report on their users, and what a file needs to send anything anywhere.
TELEMETRY = {
    "posthog", "sentry_sdk", "segment", "analytics", "mixpanel", "scarf", "amplitude", "opentelemetry", "telemetry",
    "google_analytics", "datadog", "newrelic",
}  # fmt: skip
NETWORK = {"urllib", "http", "socket", "requests", "httpx", "httpx2", "aiohttp", "urllib3", "huggingface_hub"}


def project() -> dict[str, list[str]]:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0].lower() for requirement in requirements}


def imported(path: Path) -> set[str]:
    """The packages that a file imports, at its top or in functions; `urllib.parse` only takes addresses apart."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    plain |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    return {name.partition(".")[0] for name in plain - {"urllib.parse"}}


def test_pain_22_core_dependencies_are_few() -> None:
    assert names(project()["dependencies"]) == CORE


def test_pain_22_nothing_tells_on_its_user() -> None:
    """And only what was asked for by name goes over the network: a text by its URL, a model by its name or address, a
    data set by its name, a cluster by its address. The server only listens."""
    used = {path.relative_to(CHECKOUT).as_posix(): imported(path) for path in (CHECKOUT / "tutelage").rglob("*.py")}
    assert len(used) > 50
    assert [path for path, packages in used.items() if packages & TELEMETRY] == []
    assert {path for path, packages in used.items() if packages & NETWORK} == {
        "tutelage/client/http.py",
        "tutelage/ray_cluster.py",
        "tutelage/corpus/fetch.py",
        "tutelage/io/hub.py",
        "tutelage/serve/server.py",
    }
