"""Work done by several processes: a function over many jobs, each job by one process, whole or not at all.

The workers are Python started anew, not forked, for a fork of a process with threads may hang, and they do not run the
main module again, so that a script needs no guard. A worker ends itself when its parent is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from queue import SimpleQueue
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

# The path first, so that a worker finds this very package.
_START = f"import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from {__name__} import serve; serve()"
_WATCH_SECONDS = 0.5
_HELD = 8  # times as many results as jobs under way may wait for one that takes long


def each(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    workers: int,
    stop: Callable[[], bool] = lambda: False,
    held: Sequence[int] = (),
    *,
    in_order: bool = False,
) -> Iterator[tuple[Job, Result]]:
    """Each job with what the function makes of it, in the order in which they are done; or in which they came, and then
    this process is one of the workers. With one worker all is done here. Once `stop()` is true no further job is begun;
    those begun are still given.

    function: one that stands at the top of a module, for it is sent by its name; or an object that can be called, which
              each worker gets a copy of.
    held:     open files that the workers hold too, so that a lock on one lasts until the last of them has ended.

    Raises:
        whatever the function raises, as it was raised in the worker.
        ValueError: a worker has died.
    """
    if workers == 1:
        for job in jobs:
            if stop():
                return
            yield job, function(job)
        return
    processes = [_start(held) for _ in range(workers - in_order)]
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def work(job: Job) -> Result:
        worker = free.get()
        try:
            return _ask(worker, job)
        finally:
            free.put(worker)

    threads, all_done = ThreadPoolExecutor(len(processes)), False

    def prepare(worker: subprocess.Popen[bytes], told: bytes) -> None:
        try:
            _send(worker, told)
        finally:
            free.put(worker)  # one that has died is told of by its first job

    def submit(job: Job) -> Future[Result]:
        return threads.submit(work, job)

    try:
        told = _pickled(sys.path) + _pickled(function)
        for process in processes:  # by a thread, for a process reads only once it has started
            threads.submit(prepare, process, told)
        if in_order:
            yield from _in_order(function, jobs, stop, submit, 2 * len(processes))
        else:
            yield from _as_done(jobs, stop, submit, len(processes))
        all_done = True
    finally:
        if not all_done:  # else each ends by itself, and with it whatever it has started
            for process in processes:
                process.kill()
        threads.shutdown(wait=True, cancel_futures=True)
        for process in processes:
            process.communicate()


def _as_done(
    jobs: Iterable[Job], stop: Callable[[], bool], submit: Callable[[Job], Future[Result]], most: int
) -> Iterator[tuple[Job, Result]]:
    waiting: dict[Future[Result], Job] = {}
    for job in jobs:
        if stop():
            break
        waiting[submit(job)] = job
        if len(waiting) == most:  # so few that memory does not grow with the data
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    for future in as_completed(waiting):
        yield waiting[future], future.result()


def _in_order(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    stop: Callable[[], bool],
    submit: Callable[[Job], Future[Result]],
    enough: int,
) -> Iterator[tuple[Job, Result]]:
    """While `enough` jobs are under way elsewhere, the next one is done here."""
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    for job in jobs:
        if stop():
            break
        busy = sum(not future.done() for _, future in waiting) >= enough
        waiting.append((job, _done(function, job) if busy else submit(job)))
        while waiting and (waiting[0][1].done() or len(waiting) > _HELD * enough):
            first, future = waiting.popleft()
            yield first, future.result()
    for job, future in waiting:
        yield job, future.result()


def _done(function: Callable[[Job], Result], job: Job) -> Future[Result]:
    future: Future[Result] = Future()
    try:
        future.set_result(function(job))
    except Exception as error:  # it is raised when its turn comes
        future.set_exception(error)
    return future


def _start(held: Sequence[int]) -> subprocess.Popen[bytes]:
    # One process a core: libraries that start threads of their own would only stand in each other's way.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    environment = {**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", _START]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, pass_fds=held)


def _pickled(value: object) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def _send(worker: subprocess.Popen[bytes], pickled: bytes) -> None:
    assert worker.stdin is not None
    try:
        worker.stdin.write(pickled)
        worker.stdin.flush()
    except BrokenPipeError as error:
        raise died(f"exit status {worker.wait()}") from error


def _ask(worker: subprocess.Popen[bytes], job: object) -> Any:
    assert worker.stdout is not None
    _send(worker, _pickled(job))
    try:
        raised, answer = pickle.load(worker.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        raise died(f"exit status {worker.wait()}") from error
    if raised:
        raise answer
    return answer


def died(how: str) -> ValueError:
    """What to raise where a worker is gone; `how` says what is known of it."""
    return ValueError(
        f"a process that worked on the data has died ({how}); memory may have run out: "
        "free some, or take fewer workers where the recipe sets them, and run the same command again"
    )


def serve() -> None:
    """The work of a worker: jobs in, what became of them out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything else prints must not come between
    function = pickle.load(source)
    while True:
        try:
            job = pickle.load(source)
        except EOFError:
            return
        try:
            answer = packed(function(job))
        except Exception as error:  # it is the parent's to raise
            answer = packed(error)
        sink.write(answer)
        sink.flush()


def packed(answer: object) -> bytes:
    """What a job came to, pickled for the process that asked: whether it is an exception, and what it is."""
    raised = isinstance(answer, Exception)
    try:
        found = pickle.dumps((raised, answer), pickle.HIGHEST_PROTOCOL)
        if raised:
            pickle.loads(found)  # some exceptions can be written but not read again
        return found
    except Exception:
        if not raised:
            raise
        return pickle.dumps((True, RuntimeError(f"{type(answer).__name__}: {answer}")), pickle.HIGHEST_PROTOCOL)


def _end_with_parent(parent: int) -> None:
    """A parent that is killed cannot end its workers; what they have begun is nobody's any more."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
