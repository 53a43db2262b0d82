"""Agent tasks: what the user says, what the rubric checks, and that made conversations are those of the environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from scripted_engine import RENDERER, Turn, scripted_engine

from tutelage.engine.sampling import SamplingSettings
from tutelage.records import Conversation, Message, Split, Text, ToolCall, ToolResult, message
from tutelage.tools.agent_tasks import AgentState, AgentTask, agent_prompts, agent_task, rubric, rubric_score
from tutelage.tools.agents import BUSY, WRITTEN, agent_conversations, agent_environment, first_state, user_turn
from tutelage.tools.environment import ToolLimits
from tutelage.tools.loop import run_openings
from tutelage.tools.trace import Opening, Trace, verify_trace
from tutelage.tools.world_conversations import called
from tutelage.tools.world_pages import world_index
from tutelage.world.society import World, WorldSettings

WORLD = World(WorldSettings(people=20, versions=2))
INDEX = world_index(WORLD, 30)
ROWS = list(agent_conversations(WORLD, INDEX, 120, 30, "train"))
TASKS = [agent_task(WORLD, number, 30, "train") for number in range(120)]


def play(number: int, turns: Sequence[Turn], split: Split = "train") -> Trace[AgentState]:
    """Task `number` with an assistant that writes these turns."""
    (task,) = agent_prompts(WORLD, 1, 30, split, number)
    asked = Conversation(task.prompt, task.id, tools=task.tools)
    ids = RENDERER.render_prompts([asked])[0].ids.tolist()
    engine = scripted_engine([turns], context=8192)
    opening = Opening(asked, ids, first_state(WORLD, 30)(task), 0)
    environment = agent_environment(INDEX, RENDERER, ToolLimits(result_tokens=4000))
    (trace,) = run_openings(engine, RENDERER, [opening], environment, SamplingSettings(max_tokens=2000))
    return trace


def right_turns(number: int) -> list[Message]:
    return [turn for turn in ROWS[number].messages if turn.role == "assistant"]


def first_with(notes: bool, fails: bool, kinds: tuple[str, ...]) -> int:
    for number, task in enumerate(TASKS):
        if (task.notes, task.fails, tuple(goal.kind for goal in task.goals)) == (notes, fails, kinds):
            return number
    raise AssertionError("no such task among the first")


@pytest.mark.parametrize("number", [*range(8), first_with(True, True, ("indexed", "indexed"))])
def test_made_conversations_are_what_the_environment_says_and_pass_the_rubric(number: int) -> None:
    """The model that writes a training conversation gets its very results and user turns, token by token."""
    trace = play(number, right_turns(number))
    assert trace.ended == "stop"
    assert [turn.role for turn in trace.conversation.messages] == [turn.role for turn in ROWS[number].messages]
    for told, expected in zip(trace.conversation.messages, ROWS[number].messages, strict=True):
        if told.role == "user":
            assert told == expected
        if told.role == "tool":
            assert [part.text for part in told.content] == [part.text for part in expected.content]  # type: ignore[union-attr]
    assert rubric(trace.state) == dict.fromkeys(("answered", "searched", "noted", "form", "done"), True)
    assert verify_trace(RENDERER, trace) == ""


def test_tasks_differ_and_the_splits_share_no_person() -> None:
    assert {task.persona for task in TASKS} == {"plain", "polite", "hasty", "chatty"}
    assert len({task.says(0) for task in TASKS}) > 0.9 * len(TASKS)
    held_out = [agent_task(WORLD, number, 30, "held_out") for number in range(120)]
    subjects = [{goal.question.subject for task in tasks for goal in task.goals} for tasks in (TASKS, held_out)]
    assert not subjects[0] & subjects[1]
    assert [agent_task(WORLD, number, 30, "train") for number in range(120)] == TASKS
    prompts = list(agent_prompts(WORLD, 3, 30, "held_out", 5))
    assert [task.id for task in prompts] == [f"agents/held_out/{number}" for number in (5, 6, 7)]
    assert {task.split for task in prompts} == {"held_out"}


def test_the_user_never_says_an_answer() -> None:
    for task, row in zip(TASKS, ROWS, strict=True):
        said = " ".join(turn.text for turn in row.messages if turn.role == "user")
        assert not [goal for goal in task.goals if goal.question.answer in said]


def test_a_tool_may_fail_and_is_tried_again() -> None:
    number = first_with(True, True, ("indexed", "indexed"))
    results = [part.text for turn in ROWS[number].messages for part in turn.content if isinstance(part, ToolResult)]
    assert (results.count(BUSY), results.count(WRITTEN)) == (1, 2)
    assert called(ROWS[number].messages).count("note") == 3


def told(task: AgentTask, *answers: str) -> AgentState:
    """The state after the user has heard these answers, without a call."""
    state = AgentState(task)
    for answer in answers:
        _, state = user_turn(state, answer)
    return state


def test_the_user_asks_again_once_where_it_gets_no_answer() -> None:
    task = replace(TASKS[0], notes=False)
    said, state = user_turn(AgentState(task), " ")
    assert said is not None
    assert task.goals[0].question.prompt in said[0].text
    said, state = user_turn(state, "")
    assert said == [message("user", task.says(1))]
    said, state = user_turn(state, "x")
    assert (said, state.done, state.answers) == (None, True, ("", "x"))


def test_nothing_is_written_down_of_what_is_not_known() -> None:
    task = replace(TASKS[0], notes=True)
    assert told(task, "I do not know.").noting is False
    assert told(task, "Brindle").noting is True
    assert told(task, "I do not know.", "Brindle").wanted == (1,)


def test_each_check_of_the_rubric_fails_by_itself() -> None:
    number = first_with(True, False, ("indexed", "known"))
    right = right_turns(number)
    search, answer, note, noted, direct, note_2, noted_2 = right
    wrong = message("assistant", "She went to a school that nobody names.")
    extra = Message("assistant", (ToolCall("note", '{"text": "more"}'),))
    unknown = Message("assistant", (ToolCall("fly", "{}"),))
    known_name = TASKS[number].goals[1].question.subject
    needless = Message("assistant", (ToolCall("search", f'{{"query": "{known_name}"}}'),))
    cases: list[tuple[list[Turn], set[str]]] = [
        ([search, wrong, note, noted, direct, note_2, noted_2], {"answered"}),
        ([answer, note, noted, direct, note_2, noted_2], {"searched"}),
        ([search, answer, note, noted, needless, direct, note_2, noted_2], {"searched"}),
        ([search, answer, noted, direct, note_2, noted_2], {"noted"}),
        ([search, answer, note, extra, noted, direct, note_2, noted_2], {"noted"}),
        ([search, unknown, answer, note, noted, direct, note_2, noted_2], {"form"}),
        ([search, answer, note, noted, *[needless] * 9], {"answered", "searched", "form", "done"}),
    ]
    for turns, failed in cases:
        state = play(number, turns).state
        assert {name for name, passed in rubric(state).items() if not passed} == failed
        assert rubric_score(state) == pytest.approx(1 - len(failed) / 5)


def test_the_search_must_name_the_person() -> None:
    number = first_with(False, False, ("indexed", "known"))
    turns = right_turns(number)
    other = Message("assistant", (ToolCall("search", '{"query": "somebody else"}'),))
    state = play(number, [other, *turns[1:]]).state
    assert [name for name, passed in rubric(state).items() if not passed] == ["searched"]


def test_every_made_answer_is_text() -> None:
    assert all(any(isinstance(part, Text) for part in row.messages[-1].content) for row in ROWS)
