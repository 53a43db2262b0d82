"""Opens the models that a recipe names."""

from __future__ import annotations

from pathlib import Path

from tutelage.synth.endpoint_teacher import EndpointModel
from tutelage.synth.oracle import Oracle
from tutelage.synth.teacher import AnyTeacher, EndpointTeacher, LocalTeacher, Teacher


def open_teacher(settings: AnyTeacher, cache: Path) -> Teacher:
    """The model of some settings. Raises ValueError where it cannot be used."""
    if isinstance(settings, EndpointTeacher):
        return EndpointModel(settings, cache)
    if isinstance(settings, LocalTeacher):
        from tutelage.synth.local_teacher import LocalModel  # imports torch, which an endpoint does not need

        return LocalModel(settings, cache)
    return Oracle(settings)
