"""The answer is a Python program that passes unit tests, in the sandbox."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tutelage.sandbox import run_python
from tutelage.scoring.extract import abstains, visible
from tutelage.scoring.score import Gold, Score

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TestedTask:
    """Tests to run after a program, and a program that passes them, "" where none is known."""

    tests: str
    solution: str = ""


def read_tests(gold: Gold) -> TestedTask:
    """The tests of a gold answer: a text of assertions, or the JSON of {"tests", "solution"}.

    Raises ValueError where there are none.
    """
    text = gold if isinstance(gold, str) else ""
    fields = json.loads(text) if text.lstrip().startswith("{") else {"tests": text}
    tests, solution = (str(fields.get(name) or "") for name in ("tests", "solution"))
    if not tests.strip():
        raise ValueError(f"the gold answer {gold!r} holds no tests")
    return TestedTask(tests, solution)


def unit_tests(answer: str, gold: Gold, *, seconds: float = 5, memory_mib: int = 512, unsafe: bool = False) -> Score:
    """Runs the last fenced block of the answer, else all of it, and then the tests.

    seconds, memory_mib, unsafe: as of `sandbox.run_python`.

    Raises ValueError where the gold answer holds no tests, or the machine has no sandbox.
    """
    task, text = read_tests(gold), visible(answer)
    code = program(text)
    if not code.strip():
        return Score("abstained" if abstains(text) else "unparsable")
    result = run_python(code, tests=task.tests, seconds=seconds, memory_mib=memory_mib, unsafe=unsafe)
    if result.status == "refused":
        raise ValueError(result.reason)
    if result.status == "timed out":
        return Score("timed out")
    why = result.reason or result.stderr.strip().rpartition("\n")[2]
    return Score("right") if result.status == "ok" else Score("wrong", why)


def program(text: str) -> str:
    """The last fenced block of a text; all of it where there is none."""
    blocks = _FENCED.findall(text)
    return blocks[-1] if blocks else text
