"""Tools of an MCP server, through the official client library."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_engine import RENDERER, call, results, run, say

from tutelage.tools.environment import ToolLimits
from tutelage.tools.mcp_tools import close_servers, mcp_tools
from tutelage.tools.trace import verify_trace

pytest.importorskip("mcp", reason="the extra mcp is not installed")


@pytest.fixture(autouse=True)
def no_server_left() -> Iterator[None]:
    yield
    close_servers()
    assert not [thread for thread in threading.enumerate() if thread.name == "mcp"]


SERVER = f"{sys.executable} {Path(__file__).with_name('mcp_server.py')}"


def test_tools_of_a_server_are_called_and_their_errors_told() -> None:
    tools = mcp_tools(SERVER)
    assert [tool.name for tool in tools] == ["add", "fail", "hang"]
    assert tools[0].function["description"] == "Adds two numbers."
    script = [call("add", '{"left": 2, "right": 3}'), call("fail"), call("add", '{"left": 2}'), say("it is")]
    (trace,) = run(tools, script, limits=ToolLimits(call_seconds=30))
    assert [record.status for record in trace.state.calls] == ["ok", "error", "error"]
    told = results(trace)
    assert told[0] == "5"
    assert "it broke" in told[1] or "fail" in told[1]
    assert "needs the argument 'right'" in told[2]
    assert verify_trace(RENDERER, trace) == ""
    (slow,) = run(tools, [call("hang"), say("it is")], limits=ToolLimits(call_seconds=0.2))
    assert slow.state.calls[0].status == "timed out"


def test_a_server_that_cannot_be_started_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="cannot be used: "):
        mcp_tools("/no/such/program")
