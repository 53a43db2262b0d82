"""Where a model's knowledge ends: what it answers, refuses and searches of what it knows, of what only a search knows,
and of names that do not exist. The people that it is asked about are in no conversation that it was trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from tutelage.chat import make_renderer
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.evaluate.answers import ANSWER, ask_text
from tutelage.evaluate.results import RateGroup, Results, Suite, outcomes_of
from tutelage.evaluate.session import EvalSession
from tutelage.evaluate.statistics import rate
from tutelage.evaluate.suites.knowledge import answers_right, is_for_dev
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, Text, message
from tutelage.tools.calculator import CALCULATOR
from tutelage.tools.environment import ToolLimits, ToolState, tool_environment
from tutelage.tools.loop import run_conversations
from tutelage.tools.trace import Trace
from tutelage.tools.world_conversations import called, indexed_questions
from tutelage.tools.world_pages import world_index, world_search_tool
from tutelage.world.arithmetic import QUESTIONS, fill, random_sum
from tutelage.world.grading import Question, admits_ignorance, is_correct
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.probe_tasks import reported_people
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

# What is asked: "known" the model has read, "indexed" only the search knows, "unknown" nobody, "sum" needs no search.
Set = Literal["known", "indexed", "unknown", "sum"]
Outcome = Literal["right", "wrong", "refused"]
MAX_KNOWN, UNKNOWN_NAMES, INDEXED, SUMS = 700, 200, 150, 60
SAMPLES = 6  # of each set
CALLS = ToolLimits(calls=4, result_tokens=300)


@dataclass(frozen=True)
class Item:
    """A question, what came of it, and the tools that were called; `tokens` were written, `added` came from tools."""

    set: Set
    id: str
    prompt: str
    answer: str
    outcome: Outcome
    calls: tuple[str, ...] = ()
    tokens: int = 0
    added: int = 0
    malformed: int = 0


def run(session: EvalSession) -> Results:
    """Ask without tools and, where the model was trained to call them, with search and calculator."""
    world, checkpoint = session.world, session.checkpoint("model")
    assert world is not None, "the suite needs a world"
    known, unknown = known_questions(world), list(world.unknown(UNKNOWN_NAMES))
    plain = _ask(checkpoint, [("known", q) for q in known] + [("unknown", q) for q in unknown])
    outcomes = _plain_outcomes(plain)
    figures: dict[str, Any] = {"table": two_way_table(plain)}
    samples = _samples(plain, "")
    if session.indexed_people:
        with_tools = _ask_with_tools(checkpoint, world, session.indexed_people, known, unknown)
        outcomes |= _tool_outcomes(with_tools)
        figures |= {"table_with_tools": two_way_table(with_tools), "cost": _cost(plain, with_tools)}
        samples += _samples(with_tools, "with tools: ")
    outcomes = {name: items for name, items in outcomes.items() if items}  # without a call there is no precision
    rates = {name: rate(sum(outcome for _, outcome in items), len(items)) for name, items in outcomes.items()}
    return Results(rates, outcomes, samples, figures)


def known_questions(world: World) -> list[Question]:
    """One-step questions about the people who are neither asked about in training nor probed; without those that
    checkpoints are selected by."""
    people = {person.name for person in reported_people(world)}
    asked = (q for q in world.questions("held_out", facts=len(ATTRIBUTES)) if q.kind == "one-step")
    return list(islice((q for q in asked if q.subject in people and not is_for_dev(q)), MAX_KNOWN))


def two_way_table(items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """Of each set, how many questions were answered right, answered wrong, refused; apart where a tool was called."""
    table: dict[str, Counter[str]] = {}
    for item in items:
        column = f"{item.outcome}{', after a call' if item.calls else ''}"
        table.setdefault(item.set, Counter())[column] += 1
    return {name: dict(counts) for name, counts in table.items()}


def _ask(checkpoint: Checkpoint, asked: Sequence[tuple[Set, Question]]) -> list[Item]:
    answers = ask_text(checkpoint, [question.prompt for _, question in asked], ANSWER, "known and unknown")
    items = []
    for (name, question), answer in zip(asked, answers, strict=True):
        refused = admits_ignorance(answer.text)
        right = not refused and name == "known" and answers_right(question, answer, must_end=True)
        outcome: Outcome = "refused" if refused else "right" if right else "wrong"
        items.append(Item(name, question.id, question.prompt, answer.text, outcome, (), len(answer.generation.tokens)))
    return items


def _plain_outcomes(items: Sequence[Item]) -> dict[str, list[tuple[str, int]]]:
    known, unknown = _of(items, "known"), _of(items, "unknown")
    return {
        "known.right": _passed(known, [item.outcome == "right" for item in known]),
        "known.refused": _passed(known, [item.outcome == "refused" for item in known]),
        "unknown.made_up": _passed(unknown, [item.outcome == "wrong" for item in unknown]),
    }


def _ask_with_tools(
    checkpoint: Checkpoint, world: World, indexed: int, known: Sequence[Question], unknown: Sequence[Question]
) -> list[Item]:
    tools = [world_search_tool(world_index(world, indexed)), CALCULATOR]
    asked: list[tuple[Set, Question | None, str, str]] = [("known", q, q.id, q.prompt) for q in known]
    asked += [("unknown", q, q.id, q.prompt) for q in unknown]
    asked += [("indexed", q, q.id, q.prompt) for q in indexed_questions(world, min(INDEXED, indexed))]
    sums = [random_sum(KeyedRandom(world.settings.seed, "evaluated sum", number)) for number in range(SUMS)]
    for number, sum_ in enumerate(sums):
        prompt = fill(KeyedRandom(world.settings.seed, "asked sum", number).choice(QUESTIONS[sum_.operation]), sum_)
        asked.append(("sum", None, f"sum/{number}/{sum_.result}", prompt))
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    schemas = tuple(tool.schema for tool in tools)
    conversations = [Conversation((message("user", prompt),), id_, tools=schemas) for _, _, id_, prompt in asked]
    engine = Engine(checkpoint.model, EngineSettings(max_rows=128))
    environment = tool_environment(tools, renderer, CALLS)
    traces = run_conversations(engine, renderer, conversations, environment, ToolState, ANSWER)
    engine.rows.close()
    return [
        _item(name, question, id_, prompt, trace)
        for (name, question, id_, prompt), trace in zip(asked, traces, strict=True)
    ]


def _item(name: Set, question: Question | None, id_: str, prompt: str, trace: Trace[ToolState]) -> Item:
    text = "".join(part.text for part in trace.answer.content if isinstance(part, Text))
    refused = admits_ignorance(text)
    if question is None:
        right = id_.rpartition("/")[2] in text.replace(".", " ").split()
    else:
        right = name != "unknown" and is_correct(question, text)
    outcome: Outcome = "refused" if refused else "right" if right and trace.ended == "stop" else "wrong"
    calls = tuple(called(trace.conversation.messages))
    prompt_tokens = trace.sampled.index(True) if True in trace.sampled else len(trace.ids)
    written = sum(trace.sampled)
    added = len(trace.ids) - prompt_tokens - written
    malformed = sum(record.status == "malformed" for record in trace.state.calls)
    return Item(name, id_, prompt, text, outcome, calls, written, added, malformed)


def _tool_outcomes(items: Sequence[Item]) -> dict[str, list[tuple[str, int]]]:
    known, indexed, unknown, sums = (_of(items, name) for name in ("known", "indexed", "unknown", "sum"))
    calls = [item for item in items if item.calls]
    needed = [*indexed, *unknown, *sums]
    return {
        "tools.known.right": _passed(known, [item.outcome == "right" for item in known]),
        "tools.known.direct": _passed(known, [not item.calls for item in known]),
        "tools.known.refused": _passed(known, [item.outcome == "refused" for item in known]),
        "tools.indexed.right": _passed(indexed, [item.outcome == "right" for item in indexed]),
        "tools.unknown.not_found": _passed(unknown, [item.outcome == "refused" for item in unknown]),
        "tools.unknown.made_up": _passed(unknown, [item.outcome == "wrong" for item in unknown]),
        "tools.sums.right": _passed(sums, [item.outcome == "right" for item in sums]),
        "tools.precision": _passed(calls, [item.set != "known" for item in calls]),
        "tools.recall": _passed(needed, [_fits(item) for item in needed]),
        "tools.malformed": _passed(items, [item.malformed > 0 for item in items]),
    }


def _fits(item: Item) -> bool:
    """Whether the tool that a question needs was called."""
    return ("calculator" if item.set == "sum" else "search") in item.calls


def _of(items: Sequence[Item], name: str) -> list[Item]:
    return [item for item in items if item.set == name]


def _passed(items: Sequence[Item], passed: Sequence[bool]) -> list[tuple[str, int]]:
    return outcomes_of([f"{item.set}/{item.id}" for item in items], passed)


def _cost(plain: Sequence[Item], with_tools: Sequence[Item]) -> dict[str, float]:
    """Tokens a question: written without tools; written and added with them, where they were called and where not."""
    called_items, direct = ([item for item in with_tools if bool(item.calls) == made] for made in (True, False))
    return {
        "written_without_tools": _mean([item.tokens for item in plain]),
        "written_direct": _mean([item.tokens for item in direct]),
        "written_with_calls": _mean([item.tokens for item in called_items]),
        "added_with_calls": _mean([item.added for item in called_items]),
    }


def _mean(values: Sequence[int]) -> float:
    return float(np.mean(values)) if values else 0.0


def _samples(items: Sequence[Item], prefix: str) -> list[Mapping[str, Any]]:
    chosen = [item for name in ("known", "indexed", "unknown", "sum") for item in _of(items, name)[:SAMPLES]]
    return [
        {
            "set": f"{prefix}{item.set}",
            "question": item.prompt,
            "truth": ", ".join(item.calls),
            "answer": item.answer,
            "right": item.outcome == ("refused" if item.set == "unknown" else "right"),
        }
        for item in chosen
    ]


LABELS = {
    "known.right": "known facts: right",
    "known.refused": "known facts: refused",
    "unknown.made_up": "nonexistent names: answer made up",
    "tools.known.right": "with tools, known facts: right",
    "tools.known.direct": "with tools, known facts: answered without a call",
    "tools.known.refused": "with tools, known facts: refused",
    "tools.indexed.right": "with tools, facts in the index alone: right",
    "tools.unknown.not_found": 'with tools, nonexistent names: "not found"',
    "tools.unknown.made_up": "with tools, nonexistent names: answer made up",
    "tools.sums.right": "with tools, sums: right",
    "tools.precision": "calls that were needed",
    "tools.recall": "needed calls that were made",
    "tools.malformed": "malformed calls",
}
SUITE = Suite(
    name="knowing",
    needs=frozenset({"chat", "world"}),
    run=run,
    labels=LABELS,
    groups=(
        RateGroup(
            "Where its knowledge ends",
            "Asked about people of whom it has only read, about names that do not exist and, where it calls tools, "
            "about people whom only the search knows.",
        ),
    ),
    lower_is_better=frozenset(
        {"known.refused", "unknown.made_up", "tools.known.refused", "tools.unknown.made_up", "tools.malformed"}
    ),
)
