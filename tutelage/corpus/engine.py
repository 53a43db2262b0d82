"""Who works on the shards of a curation: processes of this machine, or a Ray cluster under Ray Data; the same work.

Under Ray every attempt at a shard has a folder of its own, and only this process moves a finished one into place: a
worker that was given up for dead, or that outlives a run that was killed, cannot spoil what another has made.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tutelage.corpus.working import Job, work
from tutelage.process import cores
from tutelage.workers import parallel_map, pickled_result, worker_died

# Does jobs; gives each once its folder stands. Once the run is asked to stop none is begun; those begun are given.
Run = Callable[[list[Job]], Iterator[Job]]

_ASIDE = ".ray-"
_TOLD = ("TUTELAGE_CACHE",)  # what of this process's environment the workers must know: where trained models stand
_ATTEMPTS = 3  # what kills three processes will kill the fourth
_STOP = "stop"
_WATCH_SECONDS = 0.2
_CONNECT_SECONDS = 20.0
_OBJECT_STORE_BYTES = 128 << 20  # only names of files and errors go through it
_MISSING = "Ray cannot be imported ({error}); run: pip install 'tutelage[corpus,ray]'"


@contextmanager
def engine(kind: Literal["local", "ray"], workers: int, stop: Callable[[], bool], lock: int) -> Iterator[Run]:
    """What does the jobs of a run until the end of the block.

    workers: how many shards are worked on at a time; 0: as many as there are cores, here or in the cluster.
    lock:    an open file that processes of this machine hold too, so that its lock lasts until the last of them.

    Raises:
        ValueError: there is no Ray, or no cluster where RAY_ADDRESS says; a worker has died.
        whatever a job raises.
    """
    with ExitStack() as started:
        if kind == "ray":
            yield partial(_under_ray, workers, stop, started)
        else:
            yield partial(_here, workers, stop, lock)


def _here(workers: int, stop: Callable[[], bool], lock: int, jobs: list[Job]) -> Iterator[Job]:
    for job, _ in parallel_map(work, jobs, min(workers or cores(), len(jobs)), stop, (lock,)):
        yield job


def _under_ray(workers: int, stop: Callable[[], bool], started: ExitStack, jobs: list[Job]) -> Iterator[Job]:
    ray = _connected(workers, started)
    folder = Path(jobs[0].out).parent
    for left in folder.glob(f"{_ASIDE}*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    aside = folder / f"{_ASIDE}{uuid.uuid4().hex}"
    aside.mkdir(parents=True)
    most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    told = {name: os.environ[name] for name in _TOLD if name in os.environ}
    rows = [{"place": place, "job": pickle.dumps((sys.path, told, job))} for place, job in enumerate(jobs)]
    over = threading.Event()
    watch = threading.Thread(target=_tell_to_stop, args=(stop, over, aside / _STOP), daemon=True)
    watch.start()
    try:
        # A block for each shard, so that each is a task, and is given as soon as it is done.
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        strategy = ray.data.TaskPoolStrategy(size=min(most, len(rows)))
        for row in data.map(_attempt, fn_args=(str(aside),), compute=strategy, num_cpus=1).iter_rows():
            raised, answer = pickle.loads(row["answer"])
            if raised:
                raise answer
            if answer is not None:
                Path(answer).rename(jobs[row["place"]].out)
                yield jobs[row["place"]]
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines() or [""]
        raise ValueError(f"Ray gave up ({type(error).__name__}: {said[-1]}); run the same command again") from error
    finally:
        over.set()
        watch.join()
        shutil.rmtree(aside, ignore_errors=True)  # what is not begun finds it gone, and does nothing


def _tell_to_stop(stop: Callable[[], bool], over: threading.Event, flag: Path) -> None:
    """Lets the workers know that the run is to stop: through a file, for the folder is what they all see."""
    while not over.wait(_WATCH_SECONDS):
        if stop():
            with suppress(OSError):
                flag.touch()
            return


def _attempt(row: dict[str, Any], aside: str) -> dict[str, Any]:
    """One job in a worker of Ray: its place, and pickled whether it raised, and what; or the folder that it made, None
    where it was not begun."""
    path, told, job = pickle.loads(row["job"])
    os.environ.update(told)
    sys.path += [folder for folder in path if folder not in sys.path]  # a function that a recipe names may stand there
    own = Path(aside, f"{row['place']}-{uuid.uuid4().hex}")
    answer: str | None = None
    try:
        if not Path(aside).is_dir():
            raise ValueError(
                f"a node of the cluster does not see {job.out}; out= must be a folder that all nodes share"
            )
        if not Path(aside, _STOP).exists():
            if len(list(Path(aside).glob(f"{row['place']}-*"))) == _ATTEMPTS:
                raise worker_died(f"{_ATTEMPTS} times in a row, at {', '.join(job.sources)}")
            own.mkdir()
            work(replace(job, out=str(own / "done")))
            answer = str(own / "done")
        return {"place": row["place"], "answer": pickled_result(answer)}
    except Exception as error:  # it is the run's to raise; raised here it would come out as a traceback of Ray's
        return {"place": row["place"], "answer": pickled_result(error)}


def _connected(workers: int, started: ExitStack) -> Any:
    """Ray, connected to the cluster that RAY_ADDRESS names, else to one on this machine, which ends with `started`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # we tell nobody
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError(_MISSING.format(error=error)) from error
    # Its bars and its log would stand between ours.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS") or None
    own: dict[str, Any] = {"num_cpus": workers or cores(), "object_store_memory": _OBJECT_STORE_BYTES}
    main = threading.current_thread() is threading.main_thread()
    terminate = signal.getsignal(signal.SIGTERM)  # Ray takes it for itself
    path = os.environ.get("PYTHONPATH")
    try:
        if address is not None:
            _check_answers(address)
        else:
            os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # so that its workers find this very package
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(address or "local", **quiet, **({} if address else own | {"include_dashboard": False}))
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        if address is None:
            raise ValueError(f"Ray cannot be started ({error})") from error
        raise ValueError(f"no Ray cluster answers at {address} ({error}); correct RAY_ADDRESS or unset it") from error
    finally:
        if path is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = path
        if main:
            signal.signal(signal.SIGTERM, terminate)
    started.callback(ray.shutdown)
    return ray


def _check_answers(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT, which Ray itself takes two minutes to find."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
