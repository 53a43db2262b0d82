"""A function over many jobs in several worker processes.

Workers are new Python processes, not forks: a fork of a process with threads may hang. They do not import the main
module, so a script needs no `if __name__ == "__main__"`. A worker exits when its parent is gone.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

# The path first, so that a worker imports this copy of the package.
_START = f"import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from {__name__} import serve; serve()"
_PARENT_CHECK_SECONDS = 0.5
_PREPARE_SECONDS = 120  # for a worker with a time limit to start and import
_PIPE_BYTES = 1 << 20  # room for a few pages of HTML, so that neither end waits for the other to read
_MAX_WAITING = 8  # times as many results as jobs in flight may wait for a slow one


def parallel_map(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    workers: int,
    stop: Callable[[], bool] = lambda: False,
    inherited: Sequence[int] = (),
    *,
    in_order: bool = False,
) -> Iterator[tuple[Job, Result]]:
    """Yield (job, result) in order of completion; with `in_order`, in the order of the jobs, and then this process is
    one of the workers. With one worker everything runs in this process. Once `stop()` is true no new job starts;
    results of started jobs are still yielded.

    function:  a function at the top level of a module, which is pickled by name; or a callable object, of which each
               worker gets a copy.
    inherited: descriptors of open files that the workers inherit, so that a lock on one lasts until all have ended.

    Raises:
        whatever the function raises in a worker.
        WorkerDied: a worker has died.
    """
    if workers == 1:
        for job in jobs:
            if stop():
                return
            yield job, function(job)
        return
    processes = [Worker(function, inherited) for _ in range(workers - in_order)]
    free: SimpleQueue[Worker] = SimpleQueue()
    for process in processes:
        free.put(process)

    def work(job: Job) -> Result:
        worker = free.get()
        try:
            return worker.run(job)
        finally:
            free.put(worker)

    threads, complete = ThreadPoolExecutor(len(processes)), False

    def submit(job: Job) -> Future[Result]:
        return threads.submit(work, job)

    try:
        if in_order:
            yield from _in_order(function, jobs, stop, submit, 2 * len(processes))
        else:
            yield from _as_done(jobs, stop, submit, len(processes))
        complete = True
    finally:
        if not complete:  # else each exits by itself, with its own child processes
            for process in processes:
                process.kill()
        threads.shutdown(wait=True, cancel_futures=True)
        for process in processes:
            process.close()


class WorkerDied(ValueError):
    """A worker process has died. `status` is its exit status, minus the number of the signal that killed it."""

    status: int | None = None


class Worker:
    """A process with a copy of a function. One thread at a time may use it."""

    def __init__(self, function: Callable[[Any], Any], inherited: Sequence[int] = ()) -> None:
        # One process a core: threads of libraries would only compete with each other.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
        environment = {**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-c", _START]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, pass_fds=inherited
        )
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError, AttributeError):  # the system may allow no more; only Linux has the setting
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[arg-type]
        self._unsent = _pickled(sys.path) + _pickled(function)  # sent with the first job, as a process starts slowly
        self.pid = self._process.pid

    def run(self, job: object) -> Any:
        """The result of a job. Raises what the function raised in the process; WorkerDied."""
        self.send(job)
        return self.receive()

    def run_all(self, jobs: Sequence[object]) -> Iterator[Any]:
        """The result of each job, in order. Faster than `run`: the process has the next job before it is done with one.
        Raises as `run`. The process is killed where not all results are taken."""
        sender = threading.Thread(target=self._send_all, args=(jobs,), daemon=True)
        sender.start()
        received = 0
        try:
            while received < len(jobs):
                result = self.receive()
                received += 1
                yield result
        finally:
            if received < len(jobs):  # the sender may wait for the process to read
                self.kill()
            sender.join()

    def _send_all(self, jobs: Sequence[object]) -> None:
        with suppress(WorkerDied):  # which `receive` raises too
            for job in jobs:
                self.send(job)

    def send(self, job: object) -> None:
        """Give the process a job, without waiting for its result."""
        sink = self._process.stdin
        assert sink is not None
        try:
            sink.write(self._unsent + _pickled(job))
            sink.flush()
            self._unsent = b""
        except BrokenPipeError as error:
            raise self._died() from error

    def receive(self) -> Any:
        """The next result, in the order of the jobs."""
        source = self._process.stdout
        assert source is not None
        try:
            raised, result = pickle.load(source)
        except (EOFError, pickle.UnpicklingError) as error:
            raise self._died() from error
        if raised:
            raise result
        return result

    def _died(self) -> WorkerDied:
        status = self._process.wait()
        return worker_died(f"exit status {status}", status)

    def kill(self) -> None:
        """End the process at once, whatever it does. Any thread may call this."""
        self._process.kill()

    def close(self) -> None:
        """Let the process exit by itself, and wait for that."""
        self._process.communicate(self._unsent)


class TimedWorker(Generic[Job, Result]):
    """A function in a process of its own, which is killed when a call takes more than `seconds`; the next call starts
    another. Calls of several threads wait for each other; the clock of a call starts when it is its turn.

    prepare: called in each new process, outside the limit, such as an import.
    """

    def __init__(
        self, function: Callable[[Job], Result], seconds: float, prepare: Callable[[], object] | None = None
    ) -> None:
        self._function, self._seconds = partial(_prepare_or_call, prepare, function), seconds
        self._lock = threading.Lock()
        self._worker: Worker | None = None

    def __call__(self, job: Job) -> Result:
        """Raises TimeoutError, WorkerDied, and whatever the function raises."""
        with self._lock:
            if self._worker is None:
                self._worker = Worker(self._function)
                self._end = weakref.finalize(self, _end, self._worker)
                self._run((), _PREPARE_SECONDS)
            return self._run((job,), self._seconds)

    def _run(self, jobs: tuple[Job, ...], seconds: float) -> Any:
        worker, late = self._worker, threading.Event()
        assert worker is not None

        def stop() -> None:
            late.set()
            worker.kill()

        timer, alive = threading.Timer(seconds, stop), False
        timer.start()
        try:
            result = worker.run(jobs)
            alive = True
            return result
        except WorkerDied as error:
            if late.is_set():
                raise TimeoutError(f"more than {seconds:g} seconds") from error
            raise
        except Exception:  # the function's own
            alive = True
            raise
        finally:
            timer.cancel()
            timer.join()
            if late.is_set() or not alive:
                self._end()
                self._worker = None


def _prepare_or_call(
    prepare: Callable[[], object] | None, function: Callable[[Job], Result], jobs: tuple[Job, ...]
) -> Any:
    if jobs:
        return function(jobs[0])
    return None if prepare is None else bool(prepare())


def _end(worker: Worker) -> None:
    worker.kill()
    worker.close()


def _as_done(
    jobs: Iterable[Job], stop: Callable[[], bool], submit: Callable[[Job], Future[Result]], max_in_flight: int
) -> Iterator[tuple[Job, Result]]:
    waiting: dict[Future[Result], Job] = {}
    for job in jobs:
        if stop():
            break
        waiting[submit(job)] = job
        if len(waiting) == max_in_flight:  # bounds the memory
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
    """While `enough` jobs run in workers, the next one runs in this process."""
    waiting: deque[tuple[Job, Future[Result]]] = deque()
    for job in jobs:
        if stop():
            break
        busy = sum(not future.done() for _, future in waiting) >= enough
        waiting.append((job, _done(function, job) if busy else submit(job)))
        while waiting and (waiting[0][1].done() or len(waiting) > _MAX_WAITING * enough):
            first, future = waiting.popleft()
            yield first, future.result()
    for job, future in waiting:
        yield job, future.result()


def _done(function: Callable[[Job], Result], job: Job) -> Future[Result]:
    future: Future[Result] = Future()
    try:
        future.set_result(function(job))
    except Exception as error:  # raised when its result is due
        future.set_exception(error)
    return future


def _pickled(value: object) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def worker_died(cause: str, status: int | None = None) -> WorkerDied:
    """The error to raise for a dead worker; `cause` is what is known of it."""
    error = WorkerDied(
        f"a worker process has died ({cause}); it may have run out of memory: "
        "free some, or set fewer workers in the recipe, and rerun"
    )
    error.status = status
    return error


def serve() -> None:
    """The main loop of a worker: reads jobs and writes results until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # other output must not mix with the results
    function = pickle.load(source)
    while True:
        try:
            job = pickle.load(source)
        except EOFError:
            return
        try:
            result = pickled_result(function(job))
        except Exception as error:  # the parent raises it
            result = pickled_result(error)
        sink.write(result)
        sink.flush()


def pickled_result(result: object) -> bytes:
    """The result of a job, or the exception it raised, pickled as (whether it is an exception, the result)."""
    raised = isinstance(result, Exception)
    try:
        pickled = pickle.dumps((raised, result), pickle.HIGHEST_PROTOCOL)
        if raised:
            pickle.loads(pickled)  # some exceptions can be pickled but not unpickled
        return pickled
    except Exception:
        if not raised:
            raise
        return pickle.dumps((True, RuntimeError(f"{type(result).__name__}: {result}")), pickle.HIGHEST_PROTOCOL)


def _exit_with_parent(parent: int) -> None:
    """Exit once the parent is gone: a killed parent cannot end its workers."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)
