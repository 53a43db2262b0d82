from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tutelage.process import cores
from tutelage.workers import TimedWorker, Worker, WorkerDied, parallel_map


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_done_once(workers: int) -> None:
    assert sorted(parallel_map(math.factorial, range(20), workers)) == [(n, math.factorial(n)) for n in range(20)]
    assert list(parallel_map(math.factorial, [], workers)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_in_order_results_wait_for_slow_jobs(workers: int) -> None:
    jobs = [0.2, 0.0, 0.0, 0.1, *[0.0] * 20]
    assert [job for job, _ in parallel_map(time.sleep, jobs, workers, in_order=True)] == jobs


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_of_a_worker_is_raised_here(workers: int) -> None:
    with pytest.raises(ValueError, match="factorial"):
        list(parallel_map(math.factorial, [1, -1, 2], workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_no_job_starts_after_a_stop_request(workers: int) -> None:
    done: list[int] = []
    for job, _ in parallel_map(math.factorial, range(100), workers, stop=lambda: len(done) >= 3):
        done.append(job)
    assert 3 <= len(done) <= 3 + workers
    assert sorted(done) == list(range(len(done)))


def test_a_dead_worker_is_reported_at_once() -> None:
    with pytest.raises(ValueError, match=r"has died \(exit status 3\); it may have run out of memory"):
        list(parallel_map(os._exit, [3], 2))


def test_a_descriptor_is_inherited_under_its_number() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            list(parallel_map(os.fstat, [write], 2))
        (job, found), *_ = parallel_map(os.fstat, [write], 2, inherited=(write,))
        assert (job, found.st_ino) == (write, os.fstat(write).st_ino)
    finally:
        os.close(read)
        os.close(write)


def test_the_main_module_is_not_imported(tmp_path: Path) -> None:
    script = tmp_path / "script.py"  # without `if __name__ == "__main__"`
    script.write_text(
        "print('main')\n"
        "import math\n"
        "from tutelage.workers import parallel_map\n"
        "print(sorted(r for _, r in parallel_map(math.factorial, [3, 4], 2)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    assert done.stdout == "main\n[6, 24]\n", done.stderr


def test_ctrl_c_ends_all_at_once_with_one_traceback() -> None:
    job = "__import__('sys').stderr.write('begun' + chr(10)) and __import__('time').sleep(60)"
    code = f"from tutelage.workers import parallel_map; list(parallel_map(eval, [{job!r}] * 2, 2))"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stderr is not None
        assert [parent.stderr.readline() for _ in range(2)] == ["begun\n"] * 2
        began = time.monotonic()
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        rest = parent.stderr.read()  # until the last process that holds it has ended
    assert time.monotonic() - began < 20
    assert rest.count("Traceback") == 1 and rest.endswith("KeyboardInterrupt\n")


def test_a_worker_that_failed_does_the_next_job() -> None:
    worker = Worker(math.factorial)
    try:
        with pytest.raises(ValueError, match="factorial"):
            worker.run(-1)
        assert worker.run(4) == 24
    finally:
        worker.close()


def test_a_worker_says_how_it_died() -> None:
    worker = Worker(signal.raise_signal)
    with pytest.raises(WorkerDied, match="exit status -9") as error:
        worker.run(signal.SIGKILL)
    worker.close()
    assert error.value.status == -signal.SIGKILL


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks at processes by /proc")
def test_workers_end_with_a_parent_that_is_killed() -> None:
    job = "__import__('sys').stderr.write(str(__import__('os').getpid()) + chr(10)) and __import__('time').sleep(60)"
    code = f"from tutelage.workers import parallel_map; list(parallel_map(eval, [{job!r}], 2))"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stderr is not None
        worker = int(parent.stderr.readline())
        assert running(worker)
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while running(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not running(worker)


def test_there_is_a_core() -> None:
    assert cores() >= 1


def test_all_jobs_of_a_process_are_sent_ahead_and_answered_in_order() -> None:
    worker = Worker(str.upper)
    try:
        texts = [f"{n}" * 300_000 for n in range(8)]  # more than a pipe holds
        assert list(worker.run_all(texts)) == texts
        for text in "abc":
            assert next(worker.run_all([text])) == text.upper()  # all results are taken: the process lives on
        unfinished = worker.run_all(texts)
        assert next(unfinished) == texts[0]
        unfinished.close()
        with pytest.raises(WorkerDied):  # not all were taken
            worker.run("d")
    finally:
        worker.kill()
        worker.close()


def test_a_function_with_a_time_limit_goes_on_after_a_call_that_hangs() -> None:
    worker = TimedWorker(time.sleep, 0.3)
    with pytest.raises(TimeoutError, match=r"more than 0.3 seconds"):
        worker(60)
    assert worker(0) is None
    with pytest.raises(TypeError):
        worker("no number")  # type: ignore[arg-type]
    assert worker(0.01) is None


def test_a_process_with_a_time_limit_that_dies_is_reported_and_replaced() -> None:
    worker = TimedWorker(eval, 5)
    with pytest.raises(ValueError, match=r"has died \(exit status 3\)"):
        worker("__import__('os')._exit(3)")
    first = worker("__import__('os').getpid()")
    assert running(first)
    assert worker("__import__('os').getpid()") == first
    del worker
    assert not running(first)
