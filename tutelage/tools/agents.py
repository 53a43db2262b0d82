"""The environment of agent tasks: the tools run the assistant's calls, and a simulated user answers its turns. Verified
conversations of it, for fine-tuning, are those of an assistant that knows the answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tutelage.chat.render.renderer import Renderer
from tutelage.records import Conversation, Message, Split, Task, Text, ToolCall, ToolResult, message
from tutelage.tools.agent_tasks import (
    AGAIN,
    NOTE_SCHEMA,
    SAYS,
    AgentState,
    agent_prompts,
    agent_task,
    rubric,
    rubric_score,
)
from tutelage.tools.environment import CallRecord, NextTurn, ToolLimits, run_tool, tool_environment
from tutelage.tools.search import SearchIndex
from tutelage.tools.tool import Tool, ToolError
from tutelage.tools.world_conversations import SEARCHED_IN_VAIN
from tutelage.tools.world_pages import world_search_tool
from tutelage.world.grading import admits_ignorance
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.society import World

LIMITS = ToolLimits(calls=8, result_tokens=300)
BUSY = "The notebook is busy. Try again."
WRITTEN = "Written down."
NOTED = ("I have written it down.", "It is noted.", "Noted.")
_NUMBER = re.compile(r"agents/(train|held_out)/(\d+)")


def agent_environment(index: SearchIndex, renderer: Renderer, limits: ToolLimits = LIMITS) -> NextTurn[AgentState]:
    """Search over an index, a notebook, and the user of the task."""

    def next_turn(conversation: Conversation, state: AgentState) -> tuple[Sequence[Message] | None, AgentState]:
        notes = list(state.notes)
        tools = [world_search_tool(index), _notebook(state, notes)]
        messages, used = tool_environment(tools, renderer, limits)(conversation, state.tools)
        new = used.calls[len(state.tools.calls) :]
        calls = (*state.calls, *((state.goal, record) for record in new))
        state = replace(state, tools=used, notes=tuple(notes), calls=calls)
        if messages is not None or new:  # without messages its calls are beyond the limits
            return messages, state
        return user_turn(state, conversation.messages[-1].text)

    return next_turn


def user_turn(state: AgentState, answer: str) -> tuple[Sequence[Message] | None, AgentState]:
    """What the user says after an answer; None once it has asked all it wanted to."""
    task, goal = state.task, state.goal
    if state.noting:
        state = replace(state, noting=False, goal=goal + 1)
    elif not answer.strip() and not state.asked_again:
        again = AGAIN.format(question=task.goals[goal].question.prompt)
        return [message("user", again)], replace(state, asked_again=True)
    else:
        state = replace(state, answers=(*state.answers, answer))
        if task.notes and not admits_ignorance(answer):
            wish = [message("user", SAYS[task.persona][2])]
            return wish, replace(state, noting=True, wanted=(*state.wanted, goal))
        state = replace(state, goal=goal + 1)
    if state.goal == len(task.goals):
        return None, replace(state, done=True)
    return [message("user", task.says(state.goal))], replace(state, asked_again=False)


def _notebook(state: AgentState, notes: list[str]) -> Tool:
    """The tool that appends to the notes. Where the task says so, it fails when it is first called."""
    tried = any(record.call.name == "note" for _, record in state.calls)

    def run(arguments: Mapping[str, Any], seconds: float) -> str:
        nonlocal tried
        if state.task.fails and not tried:
            tried = True
            raise ToolError(BUSY)
        notes.append(arguments["text"])
        return WRITTEN

    return Tool(NOTE_SCHEMA, run)


def first_state(world: World, indexed: int) -> Callable[[Task], AgentState]:
    """The state of the task with a prompt's id."""

    def first(task: Task) -> AgentState:
        named = _NUMBER.fullmatch(task.id)
        assert named is not None, f"{task.id} is no agent task"
        split: Split = "train" if named[1] == "train" else "held_out"
        return AgentState(agent_task(world, int(named[2]), indexed, split))

    return first


def agent_conversations(
    world: World, index: SearchIndex, rows: int, indexed: int, split: Split
) -> Iterator[Conversation]:
    """Conversations of `rows` tasks in which the assistant knows what to do. Each passes its rubric."""
    first = first_state(world, indexed)
    for task in agent_prompts(world, rows, indexed, split):
        state, turns = first(task), list(task.prompt)
        said: Sequence[Message] | None = ()
        while said is not None:
            turn = right_turn(state, turns)
            turns.append(turn)
            calls = [part for part in turn.content if isinstance(part, ToolCall)]
            if calls:
                said, state = _run_calls(state, calls, index)
            else:
                said, state = user_turn(state, turn.text)
            turns += said or ()
        assert all(rubric(state).values()), f"{task.id} fails its rubric: {rubric(state)}"
        yield Conversation(tuple(turns), task.id, {"kind": "agent"}, tools=task.tools)


def right_turn(state: AgentState, turns: Sequence[Message]) -> Message:
    """What an assistant says next that passes the rubric. Calls follow an admission, and queries open with a space, as
    in `tools.world_conversations`."""
    goal, last = state.task.goals[state.goal], turns[-1]
    rng = KeyedRandom("agent", state.task.id, len(turns))
    result = "".join(part.text for part in last.content if isinstance(part, ToolResult))
    if state.noting:
        return (
            message("assistant", rng.choice(NOTED))
            if result == WRITTEN
            else _call("note", {"text": f" {state.answers[-1]}"})
        )
    if result:
        vain = rng.choice(SEARCHED_IN_VAIN).format(name=goal.question.subject)
        return message("assistant", vain if goal.kind == "unknown" else goal.reply)
    if goal.kind == "known":
        return message("assistant", goal.reply)
    return _call("search", {"query": f" {goal.question.subject}"}, goal.admission)


def _call(name: str, arguments: Mapping[str, str], said: str = "") -> Message:
    call = ToolCall(name, json.dumps(arguments, ensure_ascii=False))
    return Message("assistant", (*([Text(said)] if said else []), call))


def _run_calls(state: AgentState, calls: Sequence[ToolCall], index: SearchIndex) -> tuple[list[Message], AgentState]:
    notes, messages = list(state.notes), []
    tools = {tool.name: tool for tool in (world_search_tool(index), _notebook(state, notes))}
    for call in calls:
        status, text = run_tool(tools[call.name], call, LIMITS.call_seconds)
        state = replace(state, calls=(*state.calls, (state.goal, CallRecord(call, status, text, 0.0))))
        messages.append(Message("tool", (ToolResult(text, call.id),)))
    return messages, replace(state, notes=tuple(notes))


def rubric_reward(sample: Any) -> float:
    """The rubric as a reward: `rewards.rubric = {kind = "function", name = "tutelage.tools.agents:rubric_reward"}`."""
    return rubric_score(sample.state)
