"""The loop of conversations with an environment: a request whose turn has ended is paused in the batch while the
environment (tools, a simulated user) answers, and goes on after what it says. Chat, serving, evaluation, made data and
rollouts of reinforcement learning run through it.

The ids after a pause are what the renderer writes for the conversation with the new messages, so that the model reads
what training would have shown. Where these do not begin with the ids of the request (it wrote a text in other tokens
than the tokenizer does, or the template writes earlier turns differently), the request starts again from the rendered
ids, whose beginning the prefix cache has. Reinforcement learning trains the very tokens that were sampled: there the
sampled ids stay where their text is the same, and a conversation that the template writes differently ends with a
problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic

import msgspec

from tutelage.chat.render.renderer import Renderer
from tutelage.engine.engine import Engine
from tutelage.engine.requests import Request
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.text_stream import TextStream
from tutelage.records import Conversation, Message, ToolCall
from tutelage.tools.environment import NextTurn, State
from tutelage.tools.environment_calls import EnvironmentCalls, Reply
from tutelage.tools.inserted import HistoryRewritten, Inserted, inserted_ids
from tutelage.tools.trace import Opening, Trace

TIMED_OUT = "the environment timed out"

MakeText = Callable[[Sequence[int]], TextStream]
# Called after each step with the number of a conversation and the text stream of its turn, and with each complete
# message.
OnText = Callable[[int, TextStream], None]
OnMessage = Callable[[int, Message], None]


@dataclass(frozen=True)
class _Loop(Generic[State]):
    """What all conversations of a loop share."""

    engine: Engine
    renderer: Renderer
    settings: SamplingSettings
    exact: bool
    make_text: MakeText | None
    on_text: OnText
    on_message: OnMessage


@dataclass(eq=False)
class _Run(Generic[State]):
    """A trace that is being made. `begin` is the place in `trace.ids` where the turn that is written begins, `turns`
    how many turns the assistant has written, `written` how many tokens all of them have."""

    number: int
    opening: Opening
    trace: Trace[State]
    request: Request
    begin: int
    turns: int = 0
    written: int = 0


def run_conversations(
    engine: Engine,
    renderer: Renderer,
    conversations: Sequence[Conversation],
    next_turn: NextTurn[State],
    state: Callable[[], State],
    settings: SamplingSettings,
    *,
    make_text: MakeText | None = None,
    on_text: OnText = lambda number, text: None,
    on_message: OnMessage = lambda number, message: None,
    sample: int = 0,
) -> list[Trace[State]]:
    """Answer conversations that end with a user's turn, running an environment between the turns of the assistant.

    state:     makes the state that each conversation starts with.
    settings:  `max_tokens` counts what the model writes in all turns; what an environment adds does not count.
    make_text: the text stream of a turn, from the ids before it; for callers that show the text while it is written.

    Raises:
        ValueError: a prompt cannot be rendered or leaves no room; or the engine's model cannot be paused.
    """
    prompts = [rendered.ids.tolist() for rendered in renderer.render_prompts(conversations)]
    openings = [
        Opening(conversation, prompt, state(), number, sample)
        for number, (conversation, prompt) in enumerate(zip(conversations, prompts, strict=True))
    ]
    return run_openings(
        engine, renderer, openings, next_turn, settings, make_text=make_text, on_text=on_text, on_message=on_message
    )


def run_openings(
    engine: Engine,
    renderer: Renderer,
    openings: Sequence[Opening],
    next_turn: NextTurn[State],
    settings: SamplingSettings,
    *,
    seconds: float | None = None,
    exact: bool = True,
    make_text: MakeText | None = None,
    on_text: OnText = lambda number, text: None,
    on_message: OnMessage = lambda number, message: None,
) -> list[Trace[State]]:
    """As `run_conversations`, from rendered prompts.

    seconds: limit of one call of the environment; a conversation whose environment takes longer ends with a problem.
    exact:   the ids are exactly those that the renderer writes, at the cost of a new start; else the sampled ids stay,
             and a conversation that the template writes differently ends with a problem.
    """
    loop: _Loop[State] = _Loop(engine, renderer, settings, exact, make_text, on_text, on_message)
    runs = [_begin(loop, number, opening) for number, opening in enumerate(openings)]
    by_request = {run.request: run for run in runs}
    calls = EnvironmentCalls(next_turn, seconds)
    scheduler = engine.scheduler
    try:
        while scheduler.running or scheduler.waiting or calls:
            for request in engine.step():
                run = by_request.get(request)
                if run is None:
                    continue
                if request.text is not None:
                    on_text(run.number, request.text)
                if request.state in ("finished", "paused") and _take_turn(loop, run):
                    calls.start(run.number, run.trace.conversation, run.trace.state)
            for reply in calls.arrived(idle=not (scheduler.running or scheduler.waiting)):
                _go_on(loop, runs[reply.number], reply)
                by_request[runs[reply.number].request] = runs[reply.number]
            for number in calls.late():
                _fail(loop, runs[number], TIMED_OUT)
    finally:  # where Ctrl-C interrupts, or an environment fails
        for run in runs:
            engine.cancel(run.request)
    return [run.trace for run in runs]


def _begin(loop: _Loop[State], number: int, opening: Opening) -> _Run[State]:
    request = _add(loop, opening, opening.ids, loop.settings)
    ids = list(opening.ids)
    trace: Trace[State] = Trace(
        opening.conversation, opening.state, ids=ids, sampled=[False] * len(ids), generation=request.generation
    )
    return _Run(number, opening, trace, request, len(ids))


def _add(loop: _Loop[State], opening: Opening, ids: Sequence[int], settings: SamplingSettings) -> Request:
    """Queue a prompt; the request is paused at the token that ends a turn, and not finished by it."""
    text, pauses = _text(loop, ids), loop.renderer.stop_ids
    return loop.engine.add(ids, frozenset(), settings, opening.key, opening.sample, text, pause_ids=pauses)


def _text(loop: _Loop[State], ids: Sequence[int]) -> TextStream | None:
    """The text stream of a turn after these ids. The token that ends the turn, which the request reads as any other, is
    no text."""
    if loop.make_text is None:
        return None
    text = loop.make_text(ids)
    text.marker_ids = {**text.marker_ids, **dict.fromkeys(loop.renderer.stop_ids, "text")}
    return text


def _take_turn(loop: _Loop[State], run: _Run[State]) -> bool:
    """Append what the model has written since its last turn to the trace, as a message. Returns whether the turn is
    complete, so that the environment is to answer."""
    trace, request = run.trace, run.request
    new = request.ids[run.begin :]
    message = loop.renderer.parse(new)
    run.turns += 1
    run.written += len(new)
    numbers = iter(range(1, 1 + len(message.content)))
    content = tuple(
        replace(part, id=part.id or f"call_{run.turns}_{next(numbers)}") if isinstance(part, ToolCall) else part
        for part in message.content
    )
    message = Message("assistant", content)
    trace.conversation = _followed_by(trace.conversation, message)
    trace.ids += new
    trace.sampled += [True] * len(new)
    if request.state == "finished":
        trace.ended = request.generation.finish_reason
    loop.on_message(run.number, message)
    return bool(new) and new[-1] in loop.renderer.stop_ids


def _go_on(loop: _Loop[State], run: _Run[State], reply: Reply) -> None:
    """End a conversation, or resume its request, after what the environment says."""
    trace, request = run.trace, run.request
    trace.state = reply.state
    if reply.messages is None:
        loop.engine.cancel(request)
        trace.generation.finish_reason, trace.generation.stop_token = "stop", request.ids[-1]
        trace.ended = "calls" if any(isinstance(part, ToolCall) for part in trace.answer.content) else "stop"
        return
    if not reply.messages or any(message.role == "assistant" for message in reply.messages):
        raise ValueError(
            "the environment returned no messages, or one of the assistant; it returns what follows an answer, and "
            "None to end"
        )
    for message in reply.messages:
        loop.on_message(run.number, message)
    if request.state != "paused":  # max_tokens, or the context, leaves no room for another turn
        return
    conversation = _followed_by(trace.conversation, *reply.messages)
    try:
        ids, roles = inserted_ids(loop.renderer, conversation, request.ids, loop.exact)
    except HistoryRewritten as error:
        if not loop.exact:
            _fail(loop, run, str(error))
            return
        _start_again(loop, run, conversation)
        return
    except ValueError as error:
        _fail(loop, run, str(error))
        return
    if _resumed(loop, run, ids):
        trace.conversation = conversation
        trace.inserted.append(Inserted(len(trace.generation.tokens), ids, roles))
        trace.start = len(trace.generation.tokens)
        trace.ids, run.begin = list(request.ids), len(request.ids)
        trace.sampled += [False] * len(ids)


def _resumed(loop: _Loop[State], run: _Run[State], ids: Sequence[int]) -> bool:
    """Whether the context had room for what the environment says; else the conversation has ended."""
    try:
        loop.engine.resume(run.request, ids)
    except ValueError:
        loop.engine.cancel(run.request)
        run.trace.generation.finish_reason = run.trace.ended = "context"
        return False
    run.request.text = _text(loop, run.request.ids)
    return True


def _start_again(loop: _Loop[State], run: _Run[State], conversation: Conversation) -> None:
    """Add the conversation as a new request, as the renderer writes it."""
    trace = run.trace
    loop.engine.cancel(run.request)
    ids = loop.renderer.render_prompts([conversation])[0].ids.tolist()
    settings = msgspec.structs.replace(loop.settings, max_tokens=max(1, loop.settings.max_tokens - run.written))
    try:
        run.request = _add(loop, run.opening, ids, settings)
    except ValueError:  # no room
        trace.ended = "context"
        return
    trace.conversation, trace.generation, trace.inserted, trace.start = conversation, run.request.generation, [], 0
    trace.ids, run.begin, trace.sampled = ids, len(ids), [False] * len(ids)
    trace.restarts += 1


def _fail(loop: _Loop[State], run: _Run[State], problem: str) -> None:
    run.trace.problem = problem
    loop.engine.cancel(run.request)


def _followed_by(conversation: Conversation, *messages: Message) -> Conversation:
    return replace(conversation, messages=(*conversation.messages, *messages))
