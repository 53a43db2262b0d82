"""The terminal chat with tools."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_engine import RENDERER, say, scripted_engine

from tutelage.engine.sampling import SamplingSettings
from tutelage.records import Conversation, Message, Text, ToolCall, message
from tutelage.serve.terminal import tool_notes
from tutelage.serve.terminal_tools import reply_with_tools
from tutelage.tools.calculator import CALCULATOR
from tutelage.tools.environment import ToolLimits
from tutelage.tools.open_tools import open_tools


def test_text_is_written_and_calls_and_results_are_shown_between() -> None:
    asks = ToolCall("calculator", '{"expression": "2 + 2"}')
    script = [Message("assistant", (Text("what is it?"), asks)), say("it is 4.")]
    written: list[str] = []
    notes: list[str] = []
    asked = Conversation((message("user", "what?"),), tools=(CALCULATOR.schema,))
    settings = SamplingSettings(max_tokens=99)
    complete = reply_with_tools(
        scripted_engine([script]), RENDERER, asked, settings, [CALCULATOR], ToolLimits(), written.append, notes.append
    )
    assert notes == ['-> calculator {"expression": "2 + 2"}', "<- 4"]
    assert "".join(written).split("\n") == ["what is it?", "it is 4.", ""]
    assert len(written) > 2
    assert complete.messages[-1].text == "it is 4."


def test_names_of_tools(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("A text.")
    (tmp_path / "mine.py").write_text('def double(x: int) -> int:\n    "Doubles."\n    return 2 * x')
    names = f"calculator, search={tmp_path},{tmp_path / 'mine.py'},python"
    assert [tool.name for tool in open_tools(names)] == ["calculator", "search", "double", "python"]
    assert open_tools("") == []
    with pytest.raises(ValueError, match="search has nothing to search"):
        open_tools("search")
    with pytest.raises(ValueError, match="there is no tool 'magic'"):
        open_tools("magic")
    with pytest.raises(ValueError, match="two tools are named 'calculator'"):
        open_tools("calculator,calculator")


def test_a_template_that_shows_no_tools_is_refused() -> None:
    class Hides:
        def render_prompts(self, conversations: list[Conversation]) -> object:
            return RENDERER.render_prompts([Conversation(row.messages) for row in conversations])

    assert tool_notes(RENDERER, [CALCULATOR]) == ["tools: calculator"]
    with pytest.raises(ValueError, match="does not show tools"):
        tool_notes(Hides(), [CALCULATOR])  # type: ignore[arg-type]
