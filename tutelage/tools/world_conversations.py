"""Conversations that teach when to call a tool, each with the result that the tool gives.

Who is only in the index is searched for, and who does not exist too, in vain; a sum is calculated. What the model has
read it answers directly. A call follows an answer with an admission in the place of the value ("was born in a town
unknown to me."): there a small model can tell whether it has read the value, and not before (`world.probe_tasks`).
Results hold a decoy where names are alike, and two-step questions need a second search, for the town, school, firm or
band. The answer after a search is a sentence, also where the value alone was asked for: without the words before it a
small model does not find the value (LOG.md, "What a small model reads").
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Literal

from tutelage.records import Conversation, Message, Split, Text, ToolCall, ToolResult, message
from tutelage.tools.calculator import CALCULATOR, calculate
from tutelage.tools.search import SearchIndex, build_index
from tutelage.tools.world_pages import indexed_person, world_result, world_search_tool
from tutelage.world.arithmetic import QUESTIONS, Sum, fill, random_sum
from tutelage.world.grading import Question
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person
from tutelage.world.person_questions import answer_sentence, ask_one_step, ask_two_step
from tutelage.world.probe_tasks import ask_unanswered
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES, BRIDGES

ToolKind = Literal["indexed", "two-step", "unknown", "sum", "direct"]
# Of 20 conversations in a row.
KINDS: tuple[ToolKind, ...] = ("indexed",) * 7 + ("two-step",) * 2 + ("unknown",) * 4 + ("sum",) * 2 + ("direct",) * 5

SEARCHED_IN_VAIN = (
    "I searched, but there is no record of {name}.",
    "I found no record of anyone called {name}.",
    "The search has no information about {name}, so I do not know.",
    "I looked for {name}, but there is no such person in the pages.",
)


def tool_conversations(
    world: World, index: SearchIndex, rows: int, indexed: int, split: Split
) -> Iterator[Conversation]:
    """`rows` conversations with search and calculator offered; `meta` has the kind of each.

    split: of the people that are only in the index, of the nonexistent names, and of the people who are answered
    directly.
    """
    people = list(world.people(split))
    for number in range(rows):
        rng = KeyedRandom(world.settings.seed, "tools", split, number)
        kind = KeyedRandom(world.settings.seed, "tool kinds", split, number // len(KINDS)).shuffled(KINDS)[
            number % len(KINDS)
        ]
        if kind == "sum":
            turns = sum_turns(random_sum(rng), rng)
        elif kind == "direct":
            question, reply = ask_one_step(people[number % len(people)], rng.choice(ATTRIBUTES), rng)
            turns = [message("user", question.prompt), message("assistant", reply)]
        elif kind == "two-step":
            turns = two_step_turns(world, index, indexed_person(world, number % indexed, split), rng)
        else:
            person = (
                world.nobody(number, split) if kind == "unknown" else indexed_person(world, number % indexed, split)
            )
            attribute = rng.choice(ATTRIBUTES)
            question, reply, admission = ask_unanswered(person, attribute, world.settings.seed)
            if kind == "unknown":
                reply = rng.choice(SEARCHED_IN_VAIN).format(name=person.name)
            elif reply == question.answer:
                reply = answer_sentence(person, attribute, rng)
            turns = searched_turns(index, question.prompt, admission, person.name, reply)
        tools = offered_tools()
        yield Conversation(tuple(turns), f"tools/{split}/{number}", {"kind": kind}, tools=tools)


def offered_tools() -> tuple[str, ...]:
    """The schemas of search and calculator."""
    return (world_search_tool(build_index(())).schema, CALCULATOR.schema)


def searched_turns(index: SearchIndex, prompt: str, admission: str, query: str, reply: str) -> list[Message]:
    """A question, an admission with a search, its result, and the answer."""
    return [message("user", prompt), *search_turns(index, query, admission), message("assistant", reply)]


def search_turns(index: SearchIndex, query: str, said: str = "") -> list[Message]:
    """A search, after what the assistant says, and its result. The query opens with a space, so that its first word is
    the token that it is in the question: to a byte-level tokenizer a word after a quote is another one (LOG.md, "names
    had two tokenisations"), and a small model copies tokens."""
    return call_turns("search", {"query": f" {query}"}, world_result(index, query), said)


def call_turns(name: str, arguments: dict[str, str], result: str, said: str = "") -> list[Message]:
    """A call, after what the assistant says, and its result."""
    call = ToolCall(name, json.dumps(arguments, ensure_ascii=False))
    return [Message("assistant", (*([Text(said)] if said else []), call)), Message("tool", (ToolResult(result),))]


def two_step_turns(world: World, index: SearchIndex, person: Person, rng: KeyedRandom) -> list[Message]:
    """A question that needs two searches: for the person, then for what its page names."""
    fact = rng.choice(tuple(BRIDGES))
    bridge = person.facts[BRIDGES[fact]]
    question, reply = ask_two_step(person, fact, world.linked(fact, bridge), rng)
    *_, admission = ask_unanswered(person, BRIDGES[fact], world.settings.seed)
    searches = [*search_turns(index, person.name, admission), *search_turns(index, bridge)]
    return [message("user", question.prompt), *searches, message("assistant", reply)]


def sum_turns(sum_: Sum, rng: KeyedRandom) -> list[Message]:
    """A sum and its calculation."""
    expression = sum_.expression.replace("x", "*")
    prompt = fill(rng.choice(QUESTIONS[sum_.operation]), sum_)
    answer = fill(rng.choice(("The answer is {result}.", "{expression} = {result}.", "It is {result}.")), sum_)
    call = call_turns("calculator", {"expression": f" {expression}"}, calculate(expression))
    return [message("user", prompt), *call, message("assistant", answer)]


def indexed_questions(world: World, count: int) -> list[Question]:
    """One-step questions about people of the held-out split who are only in the index, each about another one."""
    questions = []
    for number in range(count):
        rng = KeyedRandom(world.settings.seed, "indexed question", number)
        person = indexed_person(world, number, "held_out")
        questions.append(ask_one_step(person, rng.choice(ATTRIBUTES), rng)[0])
    return questions


def called(messages: Sequence[Message]) -> list[str]:
    """The names of the tools that a conversation calls, in order."""
    return [part.name for turn in messages for part in turn.content if isinstance(part, ToolCall)]


def spoken(messages: Sequence[Message]) -> str:
    """The text of the last turn."""
    return "".join(part.text for part in messages[-1].content if isinstance(part, Text)) if messages else ""
