"""Runs the jobs of a curation: in processes on this machine, or as Ray tasks on a cluster. The output is the same.

Ray repeats a task whose process died. Every attempt at a shard writes to a folder of its own, and only the driver moves
a finished folder into place. So a worker that is presumed dead, or that outlives a killed run, cannot overwrite the
result of another.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tutelage.corpus.working import Job, work
from tutelage.process import cores
from tutelage.ray_cluster import connect
from tutelage.workers import parallel_map, pickled_result, worker_died

# Runs jobs, and yields each when its folder is complete. After a stop request no job is started; running ones finish.
Run = Callable[[list[Job]], Iterator[Job]]

_ATTEMPTS_PREFIX = ".ray-"
_FORWARDED = ("TUTELAGE_CACHE",)  # environment variables that workers need: the cache of trained models
_MAX_ATTEMPTS = 3  # a job that killed three processes will kill the fourth


@contextmanager
def engine(kind: Literal["local", "ray"], workers: int, stop: Callable[[], bool], lock: int) -> Iterator[Run]:
    """Context manager: a function that runs jobs.

    workers: number of shards processed at a time; 0: one per core of this machine or of the cluster.
    stop:    returns whether the run should stop.
    lock:    file descriptor of the lock on the output folder. Local workers inherit it, so that the lock lasts as long
             as the last of them.

    Raises:
        ValueError: Ray is not installed; no cluster answers at RAY_ADDRESS; a worker died.
        what a job raises.
    """
    with ExitStack() as started:
        if kind == "ray":
            yield partial(_run_on_ray, workers, stop, started)
        else:
            yield partial(_run_locally, workers, stop, lock)


def _run_locally(workers: int, stop: Callable[[], bool], lock: int, jobs: list[Job]) -> Iterator[Job]:
    for job, _ in parallel_map(work, jobs, min(workers or cores(), len(jobs)), stop, (lock,)):
        yield job


def _run_on_ray(workers: int, stop: Callable[[], bool], started: ExitStack, jobs: list[Job]) -> Iterator[Job]:
    ray = connect(workers, started, "corpus,ray")
    folder = Path(jobs[0].out).parent
    for leftover in folder.glob(f"{_ATTEMPTS_PREFIX}*"):  # of a killed run
        shutil.rmtree(leftover, ignore_errors=True)
    attempts = folder / f"{_ATTEMPTS_PREFIX}{uuid.uuid4().hex}"
    attempts.mkdir(parents=True)
    concurrency = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    environment = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
    attempt = ray.remote(num_cpus=1, max_retries=_MAX_ATTEMPTS - 1)(_attempt)
    waiting = deque(jobs)
    running: dict[Any, Job] = {}
    try:
        while True:
            while waiting and len(running) < concurrency and not stop():
                job = waiting.popleft()
                running[attempt.remote(pickle.dumps((sys.path, environment, job)), str(attempts))] = job
            if not running:
                return
            for task in ray.wait(list(running))[0]:
                job = running.pop(task)
                try:
                    raised, outcome = pickle.loads(ray.get(task))
                except ray.exceptions.WorkerCrashedError:
                    raise worker_died(
                        f"{_MAX_ATTEMPTS} times in a row, at {', '.join(file.path for file in job.files)}"
                    ) from None
                if raised:
                    raise outcome
                Path(outcome).rename(job.out)
                yield job
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(f"Ray failed ({type(error).__name__}: {lines[-1]}); rerun to resume") from error
    finally:
        shutil.rmtree(attempts, ignore_errors=True)  # tasks that have not started find it gone and do nothing


def _attempt(pickled: bytes, attempts: str) -> bytes:
    """Run one job in a Ray worker. Returns the pickled outcome: the folder that it wrote, or the exception that it
    raised."""
    path, environment, job = pickle.loads(pickled)
    os.environ.update(environment)
    sys.path += [folder for folder in path if folder not in sys.path]  # a recipe may name a function of the user
    folder = Path(attempts, uuid.uuid4().hex)
    try:
        if not Path(attempts).is_dir():
            raise ValueError(
                f"a node of the cluster cannot see {job.out}; all nodes must share out=, or the cache "
                "folder (TUTELAGE_CACHE) if it is an address"
            )
        work(replace(job, out=str(folder)))
        return pickled_result(str(folder))
    except Exception as error:  # the driver raises it; raised here, it would surface as a traceback of Ray
        return pickled_result(error)
