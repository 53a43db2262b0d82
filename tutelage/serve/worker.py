"""The thread that owns an engine: requests come in from the web server, what they write goes back, step by step.

Everything that touches the engine runs in this one thread. Other threads talk to it through `EngineWorker.submit`,
`cancel` and `call`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tutelage.engine.adapters import LoraAdapter
from tutelage.engine.engine import Engine
from tutelage.engine.requests import FinishReason, Request
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.scheduler import QueueFullError
from tutelage.engine.text_stream import Piece, TextStream
from tutelage.serve.errors import ApiError
from tutelage.serve.logits import LogitRules
from tutelage.serve.metrics import Metrics

TopTokens = list[tuple[int, float]]


@dataclass
class Progress:
    """What one choice of a request has written since the last event; `finish_reason` in its last one.

    tokens: (id, log-probability, the most likely tokens at its position) of each new token, the stop token included.
    """

    choice: int
    tokens: list[tuple[int, float, TopTokens]]
    pieces: list[Piece]
    finish_reason: FinishReason | None
    cached_tokens: int


@dataclass
class Ask:
    """One answer that is asked for: a choice of a request."""

    prompt: list[int]
    stop_ids: frozenset[int]
    settings: SamplingSettings
    text: TextStream
    rules: LogitRules
    sample: int


@dataclass(eq=False)
class Ticket:
    """A request on its way. `events` gets a `Progress` for every step, or the error that ended it; the fields below are
    the worker's own: the times of tokens in `time.monotonic()`, and the digest of the weights that write."""

    asks: list[Ask]
    loop: asyncio.AbstractEventLoop
    arrived: float
    adapter: LoraAdapter | None = None
    events: asyncio.Queue[Progress | ApiError] = field(default_factory=asyncio.Queue)
    requests: list[Request] = field(default_factory=list)
    first_token: float = 0.0
    last_token: float = 0.0
    weights: str = ""
    cancelled: bool = False


@dataclass(eq=False)
class _Choice:
    ticket: Ticket
    number: int
    first_token: float = 0.0
    tokens: int = 0
    pieces: int = 0


class EngineWorker:
    """Runs an engine in a thread of its own until `stop`.

    max_queue:        most answers that may wait for the engine; more are refused with 429.
    max_queue_tokens: most prompt tokens that may wait.
    """

    def __init__(self, engine: Engine, max_queue: int, max_queue_tokens: int, metrics: Metrics) -> None:
        self.engine, self.max_queue, self.max_queue_tokens, self.metrics = engine, max_queue, max_queue_tokens, metrics
        self.choices: dict[Request, _Choice] = {}
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._admitted, self._waiting, self._waiting_tokens = 0, 0, 0
        self._stopping, self.draining = False, False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def admit(self, answers: int) -> None:
        """Count answers in before their prompt is tokenised; `submit` or `release` must follow.

        Raises:
            ApiError: 429 where too many wait, 503 while the server shuts down, 400 for more than may ever wait.
        """
        if answers > self.max_queue:
            raise ApiError(400, f"{answers} answers are asked for at once; at most {self.max_queue}", "n")
        with self._wake:
            if self.draining:
                raise ApiError(503, "the server is shutting down", retry_after=5)
            count, tokens = self._waiting + self._admitted, self._waiting_tokens
            if count + answers > self.max_queue or tokens >= self.max_queue_tokens:
                self.metrics.add("requests_refused_total")
                rows = self.engine.settings.max_rows
                message = f"{count} answers wait already ({tokens} prompt tokens); try again later"
                raise ApiError(429, message, retry_after=1 + count // rows)
            self._admitted += answers

    def release(self, answers: int) -> None:
        """Take back an admission whose request turned out to be wrong."""
        with self._wake:
            self._admitted -= answers

    def submit(self, ticket: Ticket) -> None:
        """Give an admitted request to the engine."""
        self._post(lambda: self._add(ticket))

    def cancel(self, ticket: Ticket) -> None:
        """End a request in whatever state it is; one that has ended stays as it is."""
        self._post(lambda: self._cancel(ticket))

    def call(self, function: Callable[[Engine], Any]) -> Future[Any]:
        """Run a function in the engine's thread, between two steps."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function(self.engine))
            except Exception as error:
                future.set_exception(error)

        self._post(run)
        return future

    def drain(self) -> None:
        """Refuse new requests; those that run go on."""
        with self._wake:
            self.draining = True

    def fail_all(self, error: ApiError) -> None:
        """End every request with an error."""
        self._post(lambda: self._fail_all(error))

    def stop(self) -> None:
        """End the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _post(self, command: Callable[[], None]) -> None:
        with self._wake:
            self._inbox.append(command)
            self._wake.notify()

    def _run(self) -> None:
        scheduler = self.engine.scheduler
        while True:
            with self._wake:
                while not (self._inbox or self._stopping or scheduler.waiting or scheduler.running):
                    self._wake.wait()
                if self._stopping:
                    return
                commands = list(self._inbox)
                self._inbox.clear()
            for work in (*commands, self._step):
                try:
                    work()
                except Exception as error:  # whatever it is, the next request must find a working server
                    self._fail_all(ApiError(500, f"the engine failed: {type(error).__name__}: {error}"))
            self._note_waiting()

    def _step(self) -> None:
        self._publish(self.engine.step())

    def _note_waiting(self, admitted: int = 0) -> None:
        waiting = self.engine.scheduler.waiting
        with self._wake:
            self._admitted -= admitted
            self._waiting = len(waiting)
            self._waiting_tokens = sum(request.prompt_length for request in waiting)

    def _add(self, ticket: Ticket) -> None:
        try:
            if not ticket.cancelled:
                self._add_all(ticket)
        finally:
            self._note_waiting(admitted=len(ticket.asks))

    def _add_all(self, ticket: Ticket) -> None:
        try:
            for number, ask in enumerate(ticket.asks):
                request = self.engine.add(
                    ask.prompt, ask.stop_ids, ask.settings, sample=ask.sample, text=ask.text, process=ask.rules,
                    adapter=ticket.adapter,
                )  # fmt: skip
                ticket.requests.append(request)
                self.choices[request] = _Choice(ticket, number)
        except Exception as error:  # this thread must not end: nobody else would be answered
            self._cancel(ticket)
            status = 429 if isinstance(error, QueueFullError) else 400 if isinstance(error, ValueError) else 500
            _send(ticket.loop, [(ticket, ApiError(status, str(error), retry_after=status == 429))])

    def _cancel(self, ticket: Ticket) -> None:
        ticket.cancelled = True
        for request in ticket.requests:
            if self.choices.pop(request, None) is not None:
                self.engine.cancel(request)
                self.metrics.add("requests_cancelled_total")

    def _fail_all(self, error: ApiError) -> None:
        tickets = {choice.ticket for choice in self.choices.values()}
        for ticket in tickets:
            with suppress(Exception):  # an engine that failed may fail again
                self._cancel(ticket)
            _send(ticket.loop, [(ticket, error)])

    def _publish(self, requests: list[Request]) -> None:
        now = time.monotonic()
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Progress | ApiError]]] = {}
        for request in requests:
            choice = self.choices.get(request)
            if choice is None:
                continue
            event = _progress(request, choice)
            choice.ticket.weights = request.generation.weights
            self._measure(request, choice, len(event.tokens), now)
            by_loop.setdefault(choice.ticket.loop, []).append((choice.ticket, event))
            if request.state == "finished":
                del self.choices[request]
        for loop, events in by_loop.items():
            _send(loop, events)

    def _measure(self, request: Request, choice: _Choice, tokens: int, now: float) -> None:
        ticket, generation, metrics = choice.ticket, request.generation, self.metrics
        if not ticket.first_token and generation.tokens:
            ticket.first_token = now
            metrics.observe("time_to_first_token_seconds", now - ticket.arrived)
        if tokens:
            ticket.last_token = now
            choice.first_token = choice.first_token or now
        metrics.add("generated_tokens_total", tokens)
        if request.state == "finished":
            metrics.add("requests_finished_total")
            metrics.add("prompt_tokens_total", request.prompt_length)
            metrics.add("prompt_tokens_cached_total", generation.cached_tokens)
            metrics.observe("request_seconds", now - ticket.arrived)
            if len(generation.tokens) > 1:
                per_token = (now - choice.first_token) / (len(generation.tokens) - 1)
                metrics.observe("time_per_output_token_seconds", per_token)


def _progress(request: Request, choice: _Choice) -> Progress:
    generation, text = request.generation, request.text
    assert text is not None
    assert isinstance(request.process, LogitRules)
    kept = request.process.kept
    tokens = [
        (generation.tokens[place], generation.logprobs[place], kept[place] if kept else [])
        for place in range(choice.tokens, len(generation.tokens))
    ]
    pieces = text.pieces[choice.pieces :]
    choice.tokens, choice.pieces = len(generation.tokens), len(text.pieces)
    finish_reason = generation.finish_reason if request.state == "finished" else None
    return Progress(choice.number, tokens, pieces, finish_reason, generation.cached_tokens)


def _send(loop: asyncio.AbstractEventLoop, events: list[tuple[Ticket, Progress | ApiError]]) -> None:
    """Hand events to the loop that waits for them, in one call for all of a step."""

    def put() -> None:
        for ticket, event in events:
            ticket.events.put_nowait(event)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(put)
