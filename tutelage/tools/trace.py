"""A conversation of the tool loop, and the check that training would read it as the model did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple

import numpy as np

from tutelage.chat.render.renderer import Renderer
from tutelage.engine.requests import Generation
from tutelage.records import Conversation, Message
from tutelage.tools.environment import State
from tutelage.tools.inserted import Inserted

# "calls": the last turn makes calls that the limits do not allow.
Ended = Literal["stop", "length", "context", "cancelled", "calls"]


class Opening(NamedTuple):
    """The beginning of a conversation: its ids, the environment's state, and what keys its random numbers."""

    conversation: Conversation
    ids: Sequence[int]
    state: Any
    key: int
    sample: int = 0


@dataclass(eq=False)
class Trace(Generic[State]):
    """A conversation and how it came about.

    conversation: with all turns of the assistant and of the environment.
    state:        the environment's.
    ended:        why it ended.
    ids:          what the model has read and written, in order.
    sampled:      for each token of `ids` whether the model wrote it.
    restarts:     how often the request started again from rendered ids; see the module.
    generation:   what was sampled since the last such start.
    inserted:     what was put between its tokens.
    start:        how many of its tokens were sampled before the last turn.
    problem:      why the conversation could not go on; "" where it could.
    """

    conversation: Conversation
    state: State
    ended: Ended = "cancelled"
    ids: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)
    restarts: int = 0
    generation: Generation = field(default_factory=Generation)
    inserted: list[Inserted] = field(default_factory=list)
    start: int = 0
    problem: str = ""

    @property
    def answer(self) -> Message:
        """The last turn of the assistant; empty where it wrote none."""
        turns = [turn for turn in self.conversation.messages if turn.role == "assistant"]
        return turns[-1] if turns else Message("assistant", ())


def verify_trace(renderer: Renderer, trace: Trace[Any]) -> str:
    """Why the ids of a complete trace are not those that training would read and train, or "".

    Training renders the finished conversation, or where the template writes turns differently once others follow, each
    turn as the last; the last example must begin with the trace's ids, and train exactly what was sampled of it.
    """
    (row,) = renderer.render_rows([trace.conversation])
    if isinstance(row, ValueError):
        return f"training would refuse the conversation: {row}"
    ids = np.asarray(trace.ids)
    last = row[-1]
    if len(last.ids) < len(ids) or not np.array_equal(last.ids[: len(ids)], ids):
        return "training would read other ids"
    trained = np.flatnonzero(last.weights)
    sampled = np.flatnonzero(trace.sampled)
    if not set(sampled.tolist()) <= set(trained.tolist()):
        return "training would not train all that was sampled"
    extra = sorted(set(trained.tolist()) - set(sampled.tolist()))
    if extra and not trace.restarts and min(extra) >= np.flatnonzero(trace.sampled).min(initial=0):
        return "training would train what was not sampled"
    return ""
