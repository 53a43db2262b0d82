"""Samples of several turns: an environment answers the assistant, and the assistant goes on (tools/loop.py).

An environment is a function `next_turn(conversation, state) -> (messages, state)`. It gets the conversation up to the
assistant's answer, and a state: at the first answer the `Task` of the prompt, then what it returned itself. It returns
the messages that follow, such as the results of tools, or None where the conversation ends. What it returns is context:
neither trained nor counted. Each call has a thread of its own, so a slow environment delays nobody else; nothing that
it returns may depend on time or chance, or a run does not resume bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tutelage.engine.requests import Generation
from tutelage.records import Message, Task
from tutelage.tools.environment import NextTurn
from tutelage.tools.inserted import Inserted
from tutelage.tools.trace import Trace


class Environment(NamedTuple):
    """What answers the assistant, and the seconds that one of its turns may take: a sample whose environment takes
    longer has no reward. `first` gives the state at the first answer; that of tools (tools/environment.py) is a
    `ToolState`."""

    next_turn: NextTurn[Any]
    seconds: float
    first: Callable[[Task], Any] = lambda task: task


@dataclass(frozen=True)
class Written:
    """What was written for one sample.

    turns:    the messages between the prompt and the last answer.
    start:    how many tokens were sampled before the last answer.
    problem:  why it can have no reward; "" where it can.
    age:      rollouts since the weights that wrote its first token; 0 for the present ones.
    state:    the environment's, at the end.
    """

    generation: Generation
    turns: tuple[Message, ...] = ()
    start: int = 0
    inserted: tuple[Inserted, ...] = ()
    problem: str = ""
    age: int = 0
    state: Any = None

    @property
    def answer(self) -> list[int]:
        """The sampled ids of the last answer."""
        return self.generation.tokens[self.start :]


def written(trace: Trace[Any], prompt_turns: int) -> Written:
    """What the loop wrote after a prompt of so many turns."""
    turns = trace.conversation.messages[prompt_turns:-1]
    return Written(trace.generation, turns, trace.start, tuple(trace.inserted), trace.problem, state=trace.state)
