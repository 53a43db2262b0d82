"""Conversations rendered by several processes at once, in order.

The workers are Python started anew, not forked, for a fork of a process with threads may hang; and they do not run the
main module again, as multiprocessing has it, so that a script needs no guard. Each reads chunks of conversations from a
pipe and writes back what became of them.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np

from tutelage.chat.renderer import Rendered, TrainOn
from tutelage.chat.verified import Renderer
from tutelage.records import Conversation

ROWS_AT_ONCE = 512  # enough to keep a tokenizer busy, few enough to hold in memory
CHUNKS_FOR_WORKERS = 4  # fewer are rendered before a worker has started
# The path first, so that a worker finds this very package.
_START = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from {} import serve; serve()"

Made = list[Rendered] | ValueError


def render_all(
    conversations: Iterable[Conversation], renderer: Renderer, train_on: TrainOn, processes: int | None = None
) -> Iterator[tuple[Conversation, Made]]:
    """Each conversation with what `renderer.render_rows` makes of it, in order, without spans.

    processes: how many render; None: one for each core that may be used, and this one alone where there are few rows.

    Raises:
        whatever the renderer raises, as it was raised in the worker.
    """
    rows = iter(conversations)
    first = list(islice(rows, CHUNKS_FOR_WORKERS * ROWS_AT_ONCE))
    enough = len(first) == CHUNKS_FOR_WORKERS * ROWS_AT_ONCE
    workers = processes or (_cores() if enough else 1)
    chunks = _chunks(chain(first, rows))
    if workers == 1:
        for chunk in chunks:
            yield from zip(chunk, renderer.render_rows(chunk, train_on), strict=True)
        return
    yield from _in_workers(chunks, renderer, train_on, workers)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(rows: Iterator[Conversation]) -> Iterator[list[Conversation]]:
    while chunk := list(islice(rows, ROWS_AT_ONCE)):
        yield chunk


def _in_workers(
    chunks: Iterator[list[Conversation]], renderer: Renderer, train_on: TrainOn, count: int
) -> Iterator[tuple[Conversation, Made]]:
    workers = [_start() for _ in range(count)]
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    # What a renderer has learned of its template is compiled code; the workers learn it again.
    values = [getattr(renderer, field.name) for field in fields(renderer)]

    def render(chunk: list[Conversation]) -> list[Made]:
        worker = free.get()
        try:
            return _ask(worker, chunk)
        finally:
            free.put(worker)

    threads = ThreadPoolExecutor(count)
    waiting: deque[tuple[list[Conversation], Future[list[Made]]]] = deque()
    try:
        for worker in workers:
            _send(worker, sys.path, (type(renderer), values, train_on))
            free.put(worker)
        for chunk in chunks:
            waiting.append((chunk, threads.submit(render, chunk)))
            if len(waiting) > 2 * count:  # so that memory does not grow with the data
                done, made = waiting.popleft()
                yield from zip(done, made.result(), strict=True)
        for done, made in waiting:
            yield from zip(done, made.result(), strict=True)
    finally:
        for worker in workers:
            worker.kill()
        threads.shutdown(wait=True, cancel_futures=True)
        for worker in workers:
            worker.communicate()


def _start() -> subprocess.Popen[bytes]:
    # The tokenizers of several processes need no threads of their own.
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", _START.format(__name__)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _send(worker: subprocess.Popen[bytes], *values: object) -> None:
    assert worker.stdin is not None
    try:
        for value in values:
            pickle.dump(value, worker.stdin, pickle.HIGHEST_PROTOCOL)
        worker.stdin.flush()
    except BrokenPipeError as error:
        raise _died(worker) from error


def _ask(worker: subprocess.Popen[bytes], chunk: list[Conversation]) -> list[Made]:
    assert worker.stdout is not None
    _send(worker, chunk)
    try:
        answer = pickle.load(worker.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        raise _died(worker) from error
    if isinstance(answer, BaseException):
        raise answer
    return _unpacked(*answer)


def _died(worker: subprocess.Popen[bytes]) -> ValueError:
    return ValueError(
        f"a process that renders conversations has died (exit status {worker.wait()}); memory may have run out: "
        "free some and start again"
    )


def serve() -> None:
    """The work of a worker: chunks of conversations in, what became of them out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything else prints must not come between
    kind, values, train_on = pickle.load(source)
    renderer: Renderer = kind(*values)
    while True:
        try:
            chunk = pickle.load(source)
        except EOFError:
            return
        _answer(sink, renderer, chunk, train_on)


def _answer(sink: BinaryIO, renderer: Renderer, chunk: list[Conversation], train_on: TrainOn) -> None:
    answer: Any
    try:
        answer = _packed(renderer.render_rows(chunk, train_on))
    except Exception as error:  # it is the parent's to raise
        answer = error
    pickle.dump(answer, sink, pickle.HIGHEST_PROTOCOL)
    sink.flush()


def _packed(rows: Sequence[Made]) -> tuple[list[int | ValueError], list[int], list[np.ndarray]]:
    """Of each row how many examples it has, or its error; the lengths of the examples; and each of their columns laid
    end to end, for many small arrays would take longer to send than to make."""
    examples = [one for made in rows if not isinstance(made, ValueError) for one in made]
    counts = [made if isinstance(made, ValueError) else len(made) for made in rows]
    columns = ([one.ids for one in examples], [one.weights for one in examples], [one.roles for one in examples])
    joined = [np.concatenate(column) if column else np.zeros(0, np.uint8) for column in columns]
    return counts, [len(one.ids) for one in examples], joined


def _unpacked(counts: list[int | ValueError], lengths: list[int], columns: list[np.ndarray]) -> list[Made]:
    ends = np.cumsum(lengths).tolist()
    cuts = (slice(end - length, end) for end, length in zip(ends, lengths, strict=True))
    examples = (Rendered(*(column[cut] for column in columns)) for cut in cuts)
    return [count if isinstance(count, ValueError) else list(islice(examples, count)) for count in counts]
