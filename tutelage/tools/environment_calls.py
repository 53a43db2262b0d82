"""Environments that run beside the engine: each call has a thread of its own, so that a slow one delays nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple

from tutelage.records import Conversation, Message
from tutelage.tools.environment import NextTurn, State

FOREVER = 1e9


class Reply(NamedTuple):
    """What an environment returned to the conversation `number`, or the error that it raised."""

    number: int
    messages: Sequence[Message] | None
    state: Any
    error: BaseException | None = None


@dataclass
class EnvironmentCalls(Generic[State]):
    """The calls of an environment that run now. `seconds` is the limit of one call, None where it keeps time itself."""

    next_turn: NextTurn[State]
    seconds: float | None = None
    _deadlines: dict[int, float] = field(default_factory=dict)
    _replies: SimpleQueue[Reply] = field(default_factory=SimpleQueue)

    def __bool__(self) -> bool:
        """Whether any call runs."""
        return bool(self._deadlines)

    def start(self, number: int, conversation: Conversation, state: State) -> None:
        """Call the environment with the conversation `number`; its time counts from now on."""

        def call() -> None:
            try:
                self._replies.put(Reply(number, *self.next_turn(conversation, state)))
            except BaseException as error:  # raised again in the thread that waits
                self._replies.put(Reply(number, None, None, error))

        self._deadlines[number] = time.monotonic() + (FOREVER if self.seconds is None else self.seconds)
        threading.Thread(target=call, name=f"environment {number}", daemon=True).start()

    def arrived(self, idle: bool) -> Iterator[Reply]:
        """The replies that have come. If the engine is idle, waits for the first one, until the first deadline.

        Raises whatever an environment raises.
        """
        while self._deadlines:
            left = min(self._deadlines.values()) - time.monotonic() if idle else 0.0
            try:
                reply = self._replies.get(left > 0, min(max(left, 0.0), threading.TIMEOUT_MAX))
            except Empty:
                return
            idle = False
            if self._deadlines.pop(reply.number, None) is not None:  # else its time was over
                if reply.error is not None:
                    raise reply.error
                yield reply

    def late(self) -> list[int]:
        """The conversations whose time is over; what their environment returns no longer counts."""
        now = time.monotonic()
        late = [number for number, deadline in self._deadlines.items() if deadline < now]
        for number in late:
            del self._deadlines[number]
        return late
