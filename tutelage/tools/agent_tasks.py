"""Tasks for an agent in the built-in world: what a simulated user wants, and a rubric that is checked in code.

After Kimi K2 (arXiv 2507.20534, section 3.1.1): a user with a persona and goals, tools with a state that may fail, and
only conversations that pass the rubric are trained on. The user knows whom it asks about, and never the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tutelage.records import Split, Task, message
from tutelage.scoring.extract import normalise
from tutelage.tools.environment import CallRecord, ToolState
from tutelage.tools.world_conversations import offered_tools
from tutelage.tools.world_pages import indexed_person
from tutelage.world.grading import Question, admits_ignorance, is_correct
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Person
from tutelage.world.probe_tasks import ask_unanswered
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

# Whether a goal's person is one that the model has read of, that only the search knows, or that does not exist.
GoalKind = Literal["known", "indexed", "unknown"]
Persona = Literal["plain", "polite", "hasty", "chatty"]
KINDS: tuple[GoalKind, ...] = ("indexed", "indexed", "known", "unknown")
# How a persona asks first, asks next, and has an answer written down.
SAYS: Mapping[Persona, tuple[str, str, str]] = {
    "plain": ("{question}", "{question}", "Write that down."),
    "polite": ("Hello. {question}", "Thank you. {question}", "Thank you. Please write that down."),
    "hasty": ("Quick. {question}", "Next. {question}", "Note it."),
    "chatty": (
        "I have a question for you. {question}",
        "And one more thing. {question}",
        "Could you note that for me?",
    ),
}
AGAIN = "I got no answer. {question}"
GOALS = 2
CALLS = 5  # of a task that passes: two searches, two notes, and a note that failed


@dataclass(frozen=True)
class Goal:
    """A question of the user. `admission` and `reply` are what an assistant says that does not know, and that knows."""

    kind: GoalKind
    question: Question
    admission: str
    reply: str


@dataclass(frozen=True)
class AgentTask:
    """notes: whether the user has answers written down. fails: whether the notebook fails at the first try."""

    id: str
    persona: Persona
    goals: tuple[Goal, ...]
    notes: bool
    fails: bool

    def says(self, goal: int) -> str:
        """How the user asks for a goal."""
        return SAYS[self.persona][min(goal, 1)].format(question=self.goals[goal].question.prompt)


@dataclass(frozen=True)
class AgentState:
    """How far a task is.

    goal:    the one that is pursued.
    noting:  whether the user has just asked to have the answer written down.
    asked_again: whether it has repeated its question.
    answers: to the goals so far.
    wanted:  the goals whose answers were to be written down.
    calls:   each with the goal that it was made for.
    notes:   the state of the notebook.
    done:    whether the user has nothing more to ask.
    """

    task: AgentTask
    goal: int = 0
    noting: bool = False
    asked_again: bool = False
    answers: tuple[str, ...] = ()
    wanted: tuple[int, ...] = ()
    calls: tuple[tuple[int, CallRecord], ...] = ()
    notes: tuple[str, ...] = ()
    tools: ToolState = field(default_factory=ToolState)
    done: bool = False


def agent_task(world: World, number: int, indexed: int, split: Split) -> AgentTask:
    """Task `number` about people of one split; `indexed` people of it are known to the search alone."""
    rng = KeyedRandom(world.settings.seed, "agents", split, number)
    people = list(world.people(split))
    goals = []
    for place in range(GOALS):
        kind = rng.choice(KINDS)
        person: Person
        if kind == "known":
            person = rng.choice(people)
        elif kind == "indexed":
            person = indexed_person(world, rng.randbelow(indexed), split)
        else:
            person = world.nobody(GOALS * number + place, split)
        attribute = rng.choice(ATTRIBUTES)
        question, reply, admission = ask_unanswered(person, attribute, world.settings.seed)
        goals.append(Goal(kind, question, admission, reply))
    persona = rng.choice(get_args(Persona))
    return AgentTask(f"agents/{split}/{number}", persona, tuple(goals), rng.randbelow(2) == 0, rng.randbelow(3) == 0)


def agent_prompts(world: World, count: int, indexed: int, split: Split, start: int = 0) -> Iterator[Task]:
    """The first turn of `count` tasks from number `start` on, for a stage that samples."""
    for number in range(start, start + count):
        task = agent_task(world, number, indexed, split)
        yield Task((message("user", task.says(0)),), id=task.id, tools=agent_schemas(), split=split)


def agent_schemas() -> tuple[str, ...]:
    """The schemas of search and notebook."""
    return (offered_tools()[0], NOTE_SCHEMA)


NOTE_SCHEMA = (
    '{"type": "function", "function": {"name": "note", "description": "Writes a note.", "parameters": '
    '{"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}}'
)


def rubric(state: AgentState) -> dict[str, bool]:
    """The checks of a conversation.

    answered: each goal is, rightly; of a name that does not exist the answer says so.
    searched: the search was asked for whom only it can know, by name, and for nobody else.
    noted:    what was to be written down is, and nothing else.
    form:     each call could be run, and there were not too many.
    done:     the user has asked all it wanted to.
    """
    goals = state.task.goals
    return {
        "answered": len(state.answers) == len(goals) and all(map(_answers, goals, state.answers)),
        "searched": all(_searched(state, place) != (goal.kind == "known") for place, goal in enumerate(goals)),
        "noted": _noted(state),
        "form": len(state.calls) <= CALLS and all(record.status in ("ok", "error") for _, record in state.calls),
        "done": state.done,
    }


def rubric_score(state: AgentState) -> float:
    """The share of checks that a conversation passes."""
    checks = rubric(state)
    return sum(checks.values()) / len(checks)


def _answers(goal: Goal, answer: str) -> bool:
    return admits_ignorance(answer) if goal.kind == "unknown" else is_correct(goal.question, answer)


def _searched(state: AgentState, place: int) -> bool:
    name = normalise(state.task.goals[place].question.subject)
    searches = [record.call for goal, record in state.calls if goal == place and record.call.name == "search"]
    if state.task.goals[place].kind == "known":
        return bool(searches)
    return any(name in normalise(call.arguments) for call in searches)


def _noted(state: AgentState) -> bool:
    values = [normalise(state.task.goals[place].question.answer) for place in state.wanted]
    notes = list(map(normalise, state.notes))
    return len(notes) == len(values) and all(f" {v} " in f" {note} " for v, note in zip(values, notes, strict=True))
