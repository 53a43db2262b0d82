"""Functions of a Python file as tools: in a process that can be killed, whatever they do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_engine import RENDERER, call, results, run, say, text_of

from tutelage.tools.environment import ToolLimits
from tutelage.tools.functions import function_tools
from tutelage.tools.trace import verify_trace

FILE = Path(__file__).with_name("hostile_tools.py")
TOOLS = {tool.name: tool for tool in function_tools(FILE, seconds=0.5)}


def test_public_functions_with_a_docstring_are_tools_with_a_schema() -> None:
    assert list(TOOLS) == ["add", "fail", "hang", "leave", "megabyte", "odd"]
    function = json.loads(TOOLS["add"].schema)["function"]
    assert function["description"] == "Adds two numbers."
    properties = {"left": {"type": "integer"}, "right": {"type": "integer"}}
    assert function["parameters"] == {"type": "object", "properties": properties, "required": ["left"]}


def test_whatever_a_function_does_the_model_is_told_and_the_next_call_works() -> None:
    calls = [call("hang"), call("leave"), call("fail"), call("megabyte"), call("odd"), call("add", '{"left": 2}')]
    (trace,) = run(list(TOOLS.values()), [*calls, say("it is")], limits=ToolLimits(result_tokens=50))
    statuses = [record.status for record in trace.state.calls]
    assert statuses == ["timed out", "error", "error", "ok", "ok", "ok"]
    told = results(trace)
    assert "hang was stopped" in told[0]
    assert "leave ended its process" in told[1]
    assert told[2] == "fail failed: RuntimeError: it broke"
    assert "Cut here" in told[3]
    assert told[4:] == ["?<|end|>", "3"]
    assert text_of(trace) == "it is"
    assert verify_trace(RENDERER, trace) == ""


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("x = 1", "has no function with a docstring"),
        ("def f(a):\n    'Doc.'", "annotate 'a' as one of str, int"),
        ("def f(*a: int):\n    'Doc.'", "annotate 'a' as one of str, int"),
        ("import nowhere_at_all", "cannot be imported: ModuleNotFoundError"),
        ("def f(:", "cannot be imported: SyntaxError"),
    ],
)
def test_a_file_that_is_no_set_of_tools_is_refused(tmp_path: Path, source: str, problem: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(ValueError, match=problem):
        function_tools(tmp_path / "mine.py")
    with pytest.raises(ValueError, match="is no Python file"):
        function_tools(tmp_path / "missing.py")
