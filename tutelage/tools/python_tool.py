"""Python programs of the model, in the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from tutelage.sandbox import run_python
from tutelage.tools.tool import Tool, ToolError, make_tool

AT_ONCE = threading.BoundedSemaphore(8)  # programs; others wait, which their time does not count
LONGEST_ERROR = 1000  # characters of a traceback: its end


def python_tool(unsafe: bool = False) -> Tool:
    """A tool that runs a program and returns what it prints.

    unsafe: run it with the caller's rights where the machine has no sandbox.
    """

    def run(arguments: Mapping[str, Any], seconds: float) -> str:
        with AT_ONCE:
            result = run_python(arguments["code"], seconds=max(0.1, (seconds - 1) / 2), unsafe=unsafe)
        if result.status == "timed out":
            raise TimeoutError
        if result.status == "refused":
            raise ToolError(f"Programs cannot be run here: {result.reason}")
        written = result.stdout
        if result.status != "ok":
            error = result.stderr.strip() or result.reason
            last = error.splitlines()[-1]  # first, as a long result is cut at its end
            parts = (f"The program failed: {last}", written[:LONGEST_ERROR], error[-LONGEST_ERROR:])
            raise ToolError("\n".join(part for part in parts if part))
        return written or "(The program printed nothing; print the result.)"

    return make_tool(
        "python",
        "Runs a Python program and returns what it prints.",
        {"code": {"type": "string"}},
        run,
        keeps_time=True,
    )
