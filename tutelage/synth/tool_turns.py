"""Tools in a synthesis. A teacher writes a call as text, between <call> and </call>, since not every one knows tools;
rows hold calls and results in OpenAI's layout, as training reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tutelage.chat.formats.tools import Function, read_call
from tutelage.synth.method import Drop, Row, Turn
from tutelage.synth.parse import json_value, section
from tutelage.tools.environment import run_tool
from tutelage.tools.open_tools import open_tools
from tutelage.tools.tool import Tool
from tutelage.tools.world_pages import world_index, world_search_tool
from tutelage.world import World, WorldSettings

Tools = Mapping[str, Tool]
SYSTEM = """You have these tools:
{tools}

To call one, write this and nothing else, and you get its result:
<call>{"name": "...", "arguments": {...}}</call>
Look up what you need, and make nothing up. If a call fails, try again or say so. Otherwise write to the user."""
BUSY = "The tool is busy. Try again."
CALL_SECONDS = 10.0
MAX_RESULT, CUT = 4000, " ... (the rest is cut)"  # characters of a result that a model sees


@cache
def opened(names: str) -> Tools:
    """Tools by name, from a list as `tutelage chat --tools` has it; "search" alone searches the built-in world.

    Raises:
        ValueError: as `open_tools`.
    """
    tools = open_tools(names, lambda: world_search_tool(world_index(World(WorldSettings()), 0)), CALL_SECONDS)
    return {tool.name: tool for tool in tools}


def as_asked(tools: Tools, talk: Sequence[Row]) -> tuple[Turn, ...]:
    """A conversation with calls as texts, after what a teacher must know of its tools."""
    turns = [
        {"role": "system", "content": SYSTEM.replace("{tools}", "\n".join(tool.schema for tool in tools.values()))}
    ]
    for turn in talk:
        role = "user" if turn["role"] == "tool" else turn["role"]
        turns.append({"role": role, "content": turn_text(turn)})
    return tuple(turns)


def agent_row(tools: Tools, talk: Sequence[Row]) -> Row:
    """A conversation as a row, with the tools that were offered."""
    offered = [{"type": "function", "function": tool.function} for tool in tools.values()]
    return {"tools": offered, "messages": [*talk]}


def user_turn(text: str) -> Row:
    """A turn of the user."""
    return {"role": "user", "content": text}


def turn_text(turn: Mapping[str, Any]) -> str:
    """What a turn of a row says; a call or a result between its marks."""
    if turn["role"] == "tool":
        return f"<result>{turn['content']}</result>"
    calls = turn.get("tool_calls", ())
    return str(turn["content"]) + "".join(f"<call>{json.dumps(call['function'])}</call>" for call in calls)


def transcript(talk: Sequence[Row], calls: bool = True) -> str:
    """A conversation as a text, for a judge; without `calls` as a simulated user sees it."""
    shown = [turn for turn in talk if calls or (turn["role"] != "tool" and turn["content"])]
    text = "\n\n".join(f"{turn['role']}: {turn_text(turn)}" for turn in shown)
    return f"<conversation>\n{text}\n</conversation>"


def called(text: str) -> Function | None:
    """The call that a reply is; None if it is an answer.

    Raises:
        Unparsable: it has a mark of a call, and is not one call.
    """
    return json_value(section(text, "call"), Function) if "<call>" in text else None


def call_turns(tools: Tools, function: Function, busy: bool) -> list[Row]:
    """The turns of a row for a call and its result; `busy`: the tool fails.

    Raises:
        Drop: there is no such tool.
    """
    if function.name not in tools:
        raise Drop("unknown tool", function.name)
    call = read_call(function)
    result = BUSY if busy else run_tool(tools[call.name], call, CALL_SECONDS)[1]
    if len(result) > MAX_RESULT:
        result = f"{result[:MAX_RESULT]}{CUT}"
    layout = {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    return [
        {"role": "assistant", "content": "", "tool_calls": [layout]},
        {"role": "tool", "content": result},
    ]
