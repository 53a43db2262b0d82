"""What tests of the sandbox share: programs, and what is left of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tutelage.sandbox import SandboxResult, check_available, run_python

isolated = pytest.mark.skipif(bool(check_available()), reason=check_available() or "available")


def children() -> set[str]:
    """The child processes of this process, ended ones that nobody waited for included."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").glob("*")))


def processes_with(marker: str) -> list[str]:
    """The processes of this machine with the marker in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [path.parent.name] if marker in path.read_text() else []
    return found


def sleeper(marker: str) -> str:
    """A program that sleeps with the marker in its command line."""
    return f"import os, sys; os.execv(sys.executable, ['python', '-c', 'import time; time.sleep(60)', '{marker}'])"


def run(code: str, **options: float) -> SandboxResult:
    return run_python(code, seconds=options.get("seconds", 1), memory_mib=int(options.get("memory_mib", 128)))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
