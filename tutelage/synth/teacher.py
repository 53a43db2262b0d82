"""The models that a recipe can name, and what every one of them does."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from tutelage.client import Answer, EndpointSettings, Failure
from tutelage.config import Settings
from tutelage.world import WorldSettings

Result = Answer | Failure


class EndpointTeacher(EndpointSettings, tag="endpoint", tag_field="kind", frozen=True, kw_only=True):
    """Any OpenAI-compatible endpoint. Without `model` it is the only one that the endpoint lists."""

    model: str = ""


class LocalTeacher(Settings, tag="local", tag_field="kind", frozen=True, kw_only=True):
    """A model's folder, run on the engine here. `parallel`: requests that run at once."""

    path: str
    parallel: int = 16


class WorldTeacher(Settings, tag="world", tag_field="kind", frozen=True, kw_only=True):
    """The built-in world, which knows every fact: a teacher for tests and demonstrations.

    faults: kind -> the share of its answers that have this fault: "wrong", "refused", "cut", "unparsable", "empty",
            "identity", "repeated", "failed".
    """

    world: WorldSettings = WorldSettings()
    faults: dict[str, float] = {}
    seed: int = 0


AnyTeacher = EndpointTeacher | LocalTeacher | WorldTeacher


class Teacher(Protocol):
    """A model that answers. `model` is its name in caches and lineages; `parallel` how many questions it takes at
    once."""

    model: str
    parallel: int

    def submit(self, body: Mapping[str, Any], sample: int, purpose: str, about: Any) -> Future[Result]:
        """The coming answer to a request without its model."""

    def stop(self) -> None:
        """Answer nothing more than what is in flight."""

    def close(self) -> None:
        """Free everything."""

    def usage(self) -> dict[str, int]:
        """Requests, retries, cached answers and tokens so far."""


def parse_teacher(teacher: str | AnyTeacher) -> AnyTeacher:
    """The settings that a word stands for: an address, "world", or the path of a model."""
    if not isinstance(teacher, str):
        return teacher
    if teacher == "world":
        return WorldTeacher()
    return EndpointTeacher(url=teacher) if teacher.startswith(("http://", "https://")) else LocalTeacher(path=teacher)
