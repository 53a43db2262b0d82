"""The tool loop: a request whose turn makes calls is paused in the batch while they run, and goes on after the results.

The ids after a pause are what the renderer writes for the conversation with the results, so that the model reads what
training would have shown. Where these do not begin with the ids of the request (it wrote a text in other tokens than
the tokenizer does, or the template writes earlier turns differently), the request starts again from the rendered ids,
whose beginning the prefix cache has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

import msgspec
import numpy as np

from tutelage.chat.render.renderer import Renderer
from tutelage.engine.engine import Engine
from tutelage.engine.requests import Request
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.text_stream import TextStream
from tutelage.records import Conversation, Message, ToolCall
from tutelage.tools.environment import NextTurn, State

AT_ONCE = 8  # environments that run at the same time

# "calls": the last turn makes calls that the limits do not allow.
Ended = Literal["stop", "length", "context", "cancelled", "calls"]
Made = TypeVar("Made")


@dataclass(eq=False)
class Trace(Generic[State]):
    """A conversation and how it came about.

    conversation: with all turns of the assistant and of the tools.
    state:        the environment's.
    ended:        why it ended.
    ids:          what the model has read and written, in order.
    sampled:      for each token of `ids` whether the model wrote it.
    restarts:     how often the request started again from rendered ids; see the module.
    """

    conversation: Conversation
    state: State
    ended: Ended = "cancelled"
    ids: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)
    restarts: int = 0

    @property
    def answer(self) -> Message:
        """The last turn of the assistant; empty where it wrote none."""
        turns = [turn for turn in self.conversation.messages if turn.role == "assistant"]
        return turns[-1] if turns else Message("assistant", ())


@dataclass(eq=False)
class _Run(Generic[State]):
    """A trace that is being made. `begin` is the place in `trace.ids` where the turn that is written begins, `turns`
    how many turns the assistant has written, `written` how many tokens all of them have."""

    number: int
    trace: Trace[State]
    request: Request
    begin: int
    turns: int = 0
    written: int = 0


MakeText = Callable[[Sequence[int]], TextStream]
# Called after each step with the number of a conversation and the text stream of its turn, and with each complete
# message.
OnText = Callable[[int, TextStream], None]
OnMessage = Callable[[int, Message], None]


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
    runs: dict[Request, _Run[State]] = {}
    for number, (conversation, prompt) in enumerate(zip(conversations, prompts, strict=True)):
        request = _add(engine, renderer, prompt, settings, number, sample, _text(make_text, prompt, renderer))
        trace = Trace(conversation, state(), ids=list(prompt), sampled=[False] * len(prompt))
        runs[request] = _Run(number, trace, request, len(prompt))
    traces = [run.trace for run in runs.values()]
    waiting: dict[Future[tuple[Sequence[Message] | None, State]], _Run[State]] = {}
    with ThreadPoolExecutor(AT_ONCE, "environment") as pool:
        try:
            while runs or waiting:
                for request in engine.step():
                    run = runs.get(request)
                    if run is None:
                        continue
                    if request.text is not None:
                        on_text(run.number, request.text)
                    if request.state not in ("finished", "paused"):
                        continue
                    del runs[request]
                    on_message(run.number, _take_turn(run, renderer))
                    if request.state == "finished":
                        run.trace.ended = request.generation.finish_reason
                    else:
                        future = pool.submit(next_turn, run.trace.conversation, run.trace.state)
                        waiting[future] = run
                idle = not (engine.scheduler.running or engine.scheduler.waiting)
                for future in wait(waiting, None if idle else 0, FIRST_COMPLETED).done if waiting else ():
                    run = waiting.pop(future)
                    messages, run.trace.state = future.result()
                    if _resume(engine, renderer, run, messages, settings, sample, make_text):
                        runs[run.request] = run
                    for message in messages or ():
                        on_message(run.number, message)
        finally:  # where Ctrl-C interrupts, or an environment fails
            for run in (*runs.values(), *waiting.values()):
                engine.cancel(run.request)
    return traces


def _add(
    engine: Engine,
    renderer: Renderer,
    prompt: Sequence[int],
    settings: SamplingSettings,
    number: int,
    sample: int,
    text: TextStream | None,
) -> Request:
    """Queue a prompt; the request is paused at the token that ends a turn, and not finished by it."""
    return engine.add(prompt, frozenset(), settings, number, sample, text, pause_ids=renderer.stop_ids)


def _text(make_text: MakeText | None, ids: Sequence[int], renderer: Renderer) -> TextStream | None:
    """The text stream of a turn after these ids. The token that ends the turn, which the request reads as any other, is
    no text."""
    if make_text is None:
        return None
    text = make_text(ids)
    text.marker_ids = {**text.marker_ids, **dict.fromkeys(renderer.stop_ids, "text")}
    return text


def _take_turn(run: _Run[State], renderer: Renderer) -> Message:
    """Append what the model has written since its last turn to the trace, as a message."""
    new = run.request.ids[run.begin :]
    message = renderer.parse(new)
    run.turns += 1
    run.written += len(new)
    calls = iter(range(1, 1 + len(message.content)))
    content = tuple(
        replace(part, id=part.id or f"call_{run.turns}_{next(calls)}") if isinstance(part, ToolCall) else part
        for part in message.content
    )
    message = Message("assistant", content)
    run.trace.conversation = replace(run.trace.conversation, messages=(*run.trace.conversation.messages, message))
    run.trace.ids += new
    run.trace.sampled += [True] * len(new)
    return message


def _resume(
    engine: Engine,
    renderer: Renderer,
    run: _Run[State],
    messages: Sequence[Message] | None,
    settings: SamplingSettings,
    sample: int,
    make_text: MakeText | None,
) -> bool:
    """Resume the request after what the environment says. False where the conversation has ended."""
    trace, request = run.trace, run.request
    if messages is None:
        engine.cancel(request)
        made_calls = any(isinstance(part, ToolCall) for part in trace.answer.content)
        trace.ended = "calls" if made_calls else "stop"
        return False
    trace.conversation = replace(trace.conversation, messages=(*trace.conversation.messages, *messages))
    ids = renderer.render_prompts([trace.conversation])[0].ids.tolist()
    try:
        if ids[: len(trace.ids)] == trace.ids:
            engine.resume(request, ids[len(trace.ids) :])
            request.text = _text(make_text, ids, renderer)
            trace.sampled += [False] * (len(ids) - len(trace.ids))
        else:
            engine.cancel(request)
            rest = msgspec.structs.replace(settings, max_tokens=max(1, settings.max_tokens - run.written))
            run.request = _add(engine, renderer, ids, rest, run.number, sample, _text(make_text, ids, renderer))
            trace.sampled, trace.restarts = [False] * len(ids), trace.restarts + 1
    except ValueError:  # no room
        engine.cancel(request)
        trace.ended = "context"
        return False
    trace.ids, run.begin = ids, len(ids)
    return True


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
