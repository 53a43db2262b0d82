"""What answers the assistant in a stage that samples: tools, a function, or the agents of the built-in world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tutelage.chat import Renderer
from tutelage.config import Settings, SettingsError
from tutelage.rl.rewards import load_function
from tutelage.rl.turns import Environment
from tutelage.stages.data_world import WorldAgentTasks, WorldText, WorldTools, find_world
from tutelage.tools.agents import agent_environment, first_state
from tutelage.tools.environment import ToolLimits, ToolState, tool_environment
from tutelage.tools.open_tools import open_tools
from tutelage.tools.tool import Tool
from tutelage.tools.world_pages import world_index, world_search_tool
from tutelage.world.society import World

AGENTS = "world-agents"


def stage_tools(names: str, table: Mapping[str, Settings], seconds: float) -> list[Tool]:
    """The tools that a stage offers, as `--tools` names them; "search" alone searches the built-in world of the recipe.

    Raises:
        SettingsError: a tool is not known, or there is no world to search.
    """

    def world_search() -> Tool:
        called = [data for data in table.values() if isinstance(data, WorldTools)]
        worlds = [World(find_world(data, table)) for data in called]
        worlds += [World(data) for data in table.values() if isinstance(data, WorldText)]
        if not worlds:
            raise ValueError("search has no world to search; say in which folder of texts with search=FOLDER")
        return world_search_tool(world_index(worlds[0], called[0].indexed if called else 0))

    try:
        return open_tools(names, world_search, seconds)
    except ValueError as error:
        raise SettingsError(f"tools: {error}") from error


class SamplesTurns(Protocol):
    """A stage that samples, with its settings of what answers the assistant."""

    @property
    def data(self) -> Mapping[str, float]: ...
    @property
    def environment(self) -> str | None: ...
    @property
    def environment_seconds(self) -> float: ...
    @property
    def tools(self) -> str | None: ...
    @property
    def tool_limits(self) -> ToolLimits: ...


def turn_refusals(stage: SamplesTurns) -> list[tuple[str, bool, str]]:
    """Settings that cannot work, or would have no effect: name, whether it is so here, and why."""
    nobody = stage.environment is None and stage.tools is None
    limited = stage.tools is not None or stage.environment == AGENTS
    return [
        ("environment_seconds", stage.environment_seconds <= 0, "it must be above 0"),
        ("environment_seconds", stage.environment_seconds != 60 and nobody, "it belongs to environment, or tools"),
        ("tools", stage.tools is not None and stage.environment is not None, "environment answers the assistant"),
        ("tool_limits", stage.tool_limits != ToolLimits() and not limited, "it belongs to tools"),
    ]


def offered(stage: SamplesTurns, table: Mapping[str, Settings]) -> tuple[str, ...]:
    """The schemas of the tools that a stage offers with every prompt."""
    return tuple(tool.schema for tool in _tools(stage, table))


def load_environment(stage: SamplesTurns, table: Mapping[str, Settings], renderer: Renderer) -> Environment | None:
    """What answers the assistant in the samples of a stage; None where nothing does.

    Raises:
        SettingsError: the function cannot be imported, a tool cannot be opened, the agents have no tasks, or the chat
            template cannot call.
    """
    seconds = stage.environment_seconds
    try:
        if stage.tools is not None:
            environment = tool_environment(_tools(stage, table), renderer, stage.tool_limits)
            return Environment(environment, seconds, lambda task: ToolState())
        if stage.environment == AGENTS:
            return _agents(stage, table, renderer)
        return None if stage.environment is None else Environment(load_function(stage.environment), seconds)
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"{'tools' if stage.tools else 'environment'}: {error}") from error


def _tools(stage: SamplesTurns, table: Mapping[str, Settings]) -> list[Tool]:
    return [] if stage.tools is None else stage_tools(stage.tools, table, stage.tool_limits.call_seconds)


def _agents(stage: SamplesTurns, table: Mapping[str, Settings], renderer: Renderer) -> Environment:
    tasks = [table[name] for name in stage.data]
    if len(tasks) != 1 or not isinstance(tasks[0], WorldAgentTasks):
        raise SettingsError(f'environment: "{AGENTS}" needs one dataset, of kind "world-agent-tasks"')
    world, indexed = World(find_world(tasks[0], table)), tasks[0].indexed
    environment = agent_environment(world_index(world, indexed), renderer, stage.tool_limits)
    return Environment(environment, stage.environment_seconds, first_state(world, indexed))
