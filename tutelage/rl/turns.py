"""Samples of several turns: an environment answers the assistant, and the assistant goes on.

An environment is a function `next_turn(conversation, state) -> (messages, state)`. It gets the conversation up to the
assistant's answer, and a state: at the first answer the `Task` of the prompt, then what it returned itself. It returns
the messages that follow, such as the results of tools, or None where the conversation ends. What it returns is context:
neither trained nor counted. Each call has a thread of its own, so a slow environment delays nobody else; nothing that
it returns may depend on time or chance, or a run does not resume bit for bit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from tutelage.chat import Renderer
from tutelage.engine.engine import Engine
from tutelage.engine.requests import Generation, Request
from tutelage.records import ROLES, Conversation, Message, Task

NextTurn = Callable[[Conversation, Any], tuple[Sequence[Message] | None, Any]]
ASSISTANT = ROLES.index("assistant")
REWRITTEN = "the template writes earlier turns otherwise"
TIMED_OUT = "the environment timed out"


class Environment(NamedTuple):
    """What answers the assistant, and the seconds that one of its turns may take: a sample whose environment takes
    longer has no reward. `first` gives the state at the first answer; that of tools (tools/environment.py) is a
    `ToolState`."""

    next_turn: NextTurn
    seconds: float
    first: Callable[[Task], Any] = lambda task: task


class Inserted(NamedTuple):
    """Context between sampled tokens: after how many of them, its ids and their roles (indices into records.ROLES)."""

    after: int
    ids: list[int]
    roles: list[int]


@dataclass(frozen=True)
class Written:
    """What was written for one sample.

    turns:    the messages between the prompt and the last answer.
    start:    how many tokens were sampled before the last answer.
    problem:  why it can have no reward; "" where it can.
    age:      rollouts since the weights that wrote its first token; 0 for the present ones.
    """

    generation: Generation
    turns: tuple[Message, ...] = ()
    start: int = 0
    inserted: tuple[Inserted, ...] = ()
    problem: str = ""
    age: int = 0

    @property
    def answer(self) -> list[int]:
        """The sampled ids of the last answer."""
        return self.generation.tokens[self.start :]


@dataclass(eq=False)
class Dialogue:
    """A sample that an environment takes part in.

    conversation: up to the turn that is written now.
    deadline:     until when the environment may think, in `time.monotonic()`.
    """

    request: Request
    conversation: Conversation
    state: Any
    prompt_turns: int
    start: int = 0
    inserted: list[Inserted] = field(default_factory=list)
    problem: str = ""
    deadline: float = 0.0

    def written(self) -> Written:
        """What was written, once it has ended."""
        turns = self.conversation.messages[self.prompt_turns :]
        return Written(self.request.generation, turns, self.start, tuple(self.inserted), self.problem)


class Reply(NamedTuple):
    """What an environment returned, or the error that it raised."""

    dialogue: Dialogue
    asked: Conversation
    messages: Sequence[Message] | None
    state: Any
    error: BaseException | None = None


class HistoryRewritten(ValueError):
    """The ids so far are not what the template writes once more turns follow."""


def run_dialogues(
    engine: Engine, dialogues: Sequence[Dialogue], environment: Environment, renderer: Renderer
) -> list[Written]:
    """Step the engine until every dialogue has ended. Their requests have the renderer's stop tokens as `pause_ids`.

    Raises:
        whatever the environment raises.
        ValueError: it returned messages that cannot follow an answer.
    """
    by_request = {dialogue.request: dialogue for dialogue in dialogues}
    thinking: set[Dialogue] = set()
    replies: SimpleQueue[Reply] = SimpleQueue()
    scheduler = engine.scheduler
    while scheduler.waiting or scheduler.running or thinking:
        for request in engine.step():
            if request.state in ("paused", "finished") and request.generation.tokens[-1] in renderer.stop_ids:
                thinking.add(_think(by_request[request], environment, renderer, replies))
        wait_for = None if scheduler.waiting or scheduler.running else min((d.deadline for d in thinking), default=None)
        for reply in _arrived(replies, wait_for):
            if reply.dialogue in thinking:  # else its time was over
                thinking.remove(reply.dialogue)
                _go_on(engine, reply, renderer)
        for dialogue in [late for late in thinking if late.deadline < time.monotonic()]:
            thinking.remove(dialogue)
            dialogue.problem = TIMED_OUT
            engine.cancel(dialogue.request)
    return [dialogue.written() for dialogue in dialogues]


def _think(dialogue: Dialogue, environment: Environment, renderer: Renderer, replies: SimpleQueue[Reply]) -> Dialogue:
    """Let the environment answer, in a thread of its own; its time counts from now on."""
    answer = renderer.parse(dialogue.request.generation.tokens[dialogue.start :])
    asked = replace(dialogue.conversation, messages=(*dialogue.conversation.messages, answer))

    def call() -> None:
        try:
            replies.put(Reply(dialogue, asked, *environment.next_turn(asked, dialogue.state)))
        except BaseException as error:  # raised again in the thread that waits
            replies.put(Reply(dialogue, asked, None, None, error))

    dialogue.deadline = time.monotonic() + environment.seconds
    threading.Thread(target=call, daemon=True).start()
    return dialogue


def _arrived(replies: SimpleQueue[Reply], until: float | None) -> Iterator[Reply]:
    """The replies that are there; with `until`, waits for the first one, until then."""
    while True:
        try:
            if until is None:
                yield replies.get_nowait()
            else:
                yield replies.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            return
        until = None


def _go_on(engine: Engine, reply: Reply, renderer: Renderer) -> None:
    """The dialogue with what the environment returned: its end, or its next turn."""
    if reply.error is not None:
        raise reply.error
    dialogue, request = reply.dialogue, reply.dialogue.request
    if reply.messages is None:
        engine.cancel(request)
        request.generation.finish_reason = "stop"
        request.generation.stop_token = request.generation.tokens[-1]
        return
    if not reply.messages or any(message.role == "assistant" for message in reply.messages):
        raise ValueError(
            "the environment returned no messages, or one of the assistant; it returns what follows an answer, and "
            "None to end"
        )
    if request.state == "finished":  # max_tokens, or the context, leaves no room for another turn
        return
    conversation = replace(reply.asked, messages=(*reply.asked.messages, *reply.messages))
    try:
        ids, roles = inserted_ids(renderer, conversation, request.ids)
    except ValueError as error:
        dialogue.problem = str(error)
        engine.cancel(request)
        return
    try:
        engine.resume(request, ids)
    except ValueError:  # no room for them
        engine.cancel(request)
        request.generation.finish_reason = "context"
        return
    dialogue.conversation, dialogue.state = conversation, reply.state
    dialogue.start = len(request.generation.tokens)
    dialogue.inserted.append(Inserted(dialogue.start, ids, roles))


def inserted_ids(renderer: Renderer, conversation: Conversation, so_far: Sequence[int]) -> tuple[list[int], list[int]]:
    """What the template writes after the last answer of a conversation, up to the next answer: ids and roles. `so_far`
    are the ids of everything up to the end of that answer, which are never encoded again.

    Raises:
        HistoryRewritten: the template writes them otherwise; many leave out the reasoning of earlier turns.
        ValueError: the template or the tokenizer cannot write the conversation.
    """
    (rendered,) = renderer.render_prompts([conversation])
    ids, roles = rendered.ids.tolist(), rendered.roles.tolist()
    if ids[: len(so_far)] == list(so_far):
        return ids[len(so_far) :], roles[len(so_far) :]
    # The same text may be cut into other tokens: its end is the last one of an assistant's turn.
    ends = [place for place, token in enumerate(ids) if token in renderer.stop_ids and roles[place] == ASSISTANT]
    place = ends[-1] + 1 if ends else 0
    decode = renderer.tokenizer.decode
    if not place or "".join(decode(rendered.ids[:place]).split()) != "".join(decode(np.array(so_far)).split()):
        raise HistoryRewritten(REWRITTEN)
    return ids[place:], roles[place:]
