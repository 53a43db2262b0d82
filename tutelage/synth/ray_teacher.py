"""A teacher on many workers: copies of a model in Ray actors, of which each question goes to one that is free.

Order, cache, accounts and resume stay with the process that started the run, so its files are those of a run without
Ray, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from msgspec.structs import replace

from tutelage.client import Answer, EndpointError, Failure, question_key
from tutelage.client.responses import ResponseCache
from tutelage.ray_cluster import connect
from tutelage.synth.teacher import LocalTeacher, Result, Teacher, WorldTeacher

Open = Callable[[LocalTeacher | WorldTeacher, Path | None], Teacher]

_MAX_RESTARTS = 2  # of an actor whose process died; what it was asked is asked again


class RayModel:
    """A local model or the built-in world, as `workers` Ray actors with a core each; 0: one per core of the cluster.
    Answers are cached in a file here. `open_teacher` opens a copy on its worker.

    Raises:
        ValueError: Ray cannot be used, or the model cannot be loaded on a worker.
    """

    def __init__(
        self, open_teacher: Open, settings: LocalTeacher | WorldTeacher, cache: Path, workers: int, started: ExitStack
    ) -> None:
        if isinstance(settings, LocalTeacher):  # workers stand in a folder of their own
            settings = replace(settings, path=str(Path(settings.path).absolute()))
        self._ray = ray = connect(workers, started, "ray")
        cluster = max(1, int(ray.cluster_resources().get("CPU", 1)))
        each = settings.parallel if isinstance(settings, LocalTeacher) else 1
        actor = ray.remote(
            num_cpus=1,
            max_restarts=_MAX_RESTARTS,
            max_task_retries=_MAX_RESTARTS,
            max_concurrency=each + 1,  # `stop` must not wait for the answers
        )(Replica)
        self._replicas = [actor.remote(open_teacher, settings) for _ in range(min(workers or cluster, cluster))]
        try:
            [self.model, *_] = ray.get([replica.name.remote() for replica in self._replicas])
        except BaseException as error:
            self._kill()  # else their cores stay taken
            if isinstance(error, ray.exceptions.RayError):
                raise ValueError(_last_line(error)) from error
            raise
        self.parallel = each * len(self._replicas)
        self._caches = isinstance(settings, LocalTeacher)  # the world's answers depend on more than the question
        self._cache = ResponseCache(cache)
        self._counts = dict.fromkeys(("requests", "answers", "cached", "prompt_tokens", "completion_tokens"), 0)
        self._stopped = False
        self._threads = ThreadPoolExecutor(self.parallel)
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(each):
            for replica in self._replicas:
                self._free.put(replica)

    def submit(self, body: Mapping[str, Any], sample: int, purpose: str, about: Any) -> Future[Result]:
        """As `Teacher.submit`; the future raises ValueError where the model cannot do what is asked, or a worker died
        again and again."""
        key = question_key({"model": self.model, **body}, sample)
        if self._caches and (cached := self._cache.get(key)):
            self._counts["cached"] += 1
            future: Future[Result] = Future()
            future.set_result(cached)
            return future
        return self._threads.submit(self._ask, key, body, sample, purpose, about)

    def _ask(self, key: str, body: Mapping[str, Any], sample: int, purpose: str, about: Any) -> Result:
        replica = self._free.get()
        try:
            result = self._ray.get(replica.ask.remote(body, sample, purpose, about))
        except self._ray.exceptions.RayError as error:
            raise ValueError(f"Ray failed ({_last_line(error)}); rerun to resume") from error
        finally:
            self._free.put(replica)
        if isinstance(result, Exception):
            raise result
        self._counts["requests"] += 1
        if isinstance(result, Answer):
            self._counts["answers"] += 1
            self._counts["prompt_tokens"] += result.prompt_tokens or 0
            self._counts["completion_tokens"] += result.completion_tokens or 0
            if self._caches:
                self._cache.put(key, result)
        return result

    def stop(self) -> None:
        """As `Teacher.stop`."""
        if not self._stopped:
            self._stopped = True
            for replica in self._replicas:
                replica.stop.remote()

    def close(self) -> None:
        """As `Teacher.close`; questions in flight are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._kill()
        self._threads.shutdown()
        self._cache.close()

    def usage(self) -> dict[str, int]:
        """As `Teacher.usage`."""
        return dict(self._counts)

    def _kill(self) -> None:
        for replica in self._replicas:
            self._ray.kill(replica)


class Replica:
    """What an actor holds: a teacher without a cache."""

    def __init__(self, open_teacher: Open, settings: LocalTeacher | WorldTeacher) -> None:
        self._teacher = open_teacher(settings, None)

    def name(self) -> str:
        """The model's name."""
        return self._teacher.model

    def ask(self, body: Mapping[str, Any], sample: int, purpose: str, about: Any) -> Answer | Failure | Exception:
        """An answer; an error is returned, since Ray would raise its own around it."""
        try:
            return self._teacher.submit(body, sample, purpose, about).result()
        except (ValueError, EndpointError, OSError) as error:
            return type(error)(str(error))

    def stop(self) -> None:
        """Answer nothing more."""
        self._teacher.stop()


def _last_line(error: Exception) -> str:
    return ([line for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1].strip()
