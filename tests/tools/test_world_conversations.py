"""Conversations with tools: their results are what the tool gives, and the answers are true."""

from __future__ import annotations

import json
from itertools import islice

import pytest
from scripted_engine import RENDERER, run

from tutelage.records import Conversation, Message, Text, ToolCall, ToolResult
from tutelage.tools.calculator import CALCULATOR
from tutelage.tools.environment import ToolLimits
from tutelage.tools.search import NOT_FOUND
from tutelage.tools.trace import verify_trace
from tutelage.tools.world_conversations import KINDS, called, indexed_questions, spoken, tool_conversations
from tutelage.tools.world_pages import SPLITS, indexed_person, world_index, world_pages, world_search_tool
from tutelage.world.grading import admits_ignorance, values_named
from tutelage.world.society import World, WorldSettings
from tutelage.world.values import VALUES

WORLD = World(WorldSettings(people=20, versions=2))
INDEX = world_index(WORLD, 40)
TOOLS = [world_search_tool(INDEX), CALCULATOR]
ROWS = list(tool_conversations(WORLD, INDEX, 200, 40, "train"))


def of_kind(kind: str) -> list[Conversation]:
    return [row for row in ROWS if row.meta["kind"] == kind]


def results(row: Conversation) -> list[str]:
    return [part.text for turn in row.messages for part in turn.content if isinstance(part, ToolResult)]


def test_every_kind_is_there_in_its_share() -> None:
    for kind in set(KINDS):
        assert len(of_kind(kind)) == 200 * KINDS.count(kind) // len(KINDS)


def test_people_in_the_index_alone_are_in_no_document_and_no_other_group() -> None:
    indexed = {indexed_person(WORLD, number, split).name for number in range(40) for split in SPLITS}
    assert len(indexed) == 80
    text = " ".join(document.text for document in WORLD.documents())
    assert not [name for name in indexed if name in text]
    unknown = {question.subject for question in WORLD.unknown(200)}
    unknown |= {WORLD.nobody(number, split).name for number in range(200) for split in SPLITS}
    assert not indexed & unknown
    pages = " ".join(page.text for page in world_pages(WORLD, 40))
    assert not [name for name in unknown if name in pages]


def test_a_searched_fact_stands_in_the_result_and_in_the_answer() -> None:
    for row in of_kind("indexed"):
        assert called(row.messages) == ["search"]
        assert admits_ignorance(row.messages[1].text), "before the call it says that it does not know"
        (result,) = results(row)
        assert NOT_FOUND not in result
        named = {value for attribute in VALUES for value in values_named(attribute, spoken(row.messages))}
        assert named
        assert all(value in {v for a in VALUES for v in values_named(a, result)} for value in named)


def test_the_answer_after_a_search_is_a_sentence_about_the_person() -> None:
    for row in of_kind("indexed"):
        assert spoken(row.messages).endswith(".")


def test_names_that_do_not_exist_are_searched_in_vain_and_the_result_has_decoys() -> None:
    decoys = 0
    for row in of_kind("unknown"):
        (result,) = results(row)
        assert result.startswith(NOT_FOUND)
        decoys += "[people/" in result
        assert admits_ignorance(spoken(row.messages))
    assert decoys


def test_two_step_questions_search_twice() -> None:
    for row in of_kind("two-step"):
        assert called(row.messages) == ["search", "search"]
        first, second = results(row)
        query = json.loads(row.messages[3].content[-1].arguments)["query"].strip()  # type: ignore[union-attr]
        assert NOT_FOUND not in first + second
        assert query in first
        assert query in second.splitlines()[0]


def test_who_is_known_is_answered_directly() -> None:
    asked = {person.name for person in WORLD.people("train")}
    for row in of_kind("direct"):
        assert not called(row.messages)
        assert row.tools
        assert any(name in row.messages[0].text for name in asked)


def test_what_is_trained_is_what_the_loop_feeds() -> None:
    """The model that writes a training conversation gets its very results, token by token."""
    for row in [*of_kind("two-step")[:2], *of_kind("sum")[:1], *of_kind("unknown")[:1]]:
        script = [turn for turn in row.messages if turn.role == "assistant"]
        (trace,) = run(TOOLS, script, limits=ToolLimits(result_tokens=4000), context=8192)
        told = [message for message in trace.conversation.messages[1:] if message.role == "tool"]
        assert [part.text for message in told for part in message.content] == results(row)  # type: ignore[union-attr]
        assert verify_trace(RENDERER, trace) == ""


def test_conversations_and_questions_are_the_same_each_time_and_differ_by_split() -> None:
    again = islice(tool_conversations(WORLD, world_index(WORLD, 40), 200, 40, "train"), 30)
    assert list(again) == ROWS[:30]
    held_out = {question.subject for question in indexed_questions(WORLD, 40)}
    assert len(held_out) == 40
    text = " ".join(
        part.text for row in ROWS for turn in row.messages for part in turn.content if isinstance(part, Text)
    )
    assert not [name for name in held_out if name in text]


@pytest.mark.parametrize("kind", ["sum", "two-step"])
def test_calls_are_valid_json(kind: str) -> None:
    for row in of_kind(kind):
        calls = [part for turn in row.messages for part in turn.content if isinstance(part, ToolCall)]
        assert all(isinstance(json.loads(call.arguments), dict) for call in calls)
        assert isinstance(row.messages[-1], Message)
