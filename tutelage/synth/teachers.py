"""Opens the models that a recipe names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tutelage.config import SettingsError
from tutelage.synth.endpoint_teacher import EndpointModel
from tutelage.synth.oracle import Oracle
from tutelage.synth.ray_teacher import RayModel
from tutelage.synth.recipe import SynthRecipe
from tutelage.synth.teacher import AnyTeacher, EndpointTeacher, LocalTeacher, Teacher, parse_teacher


def open_teachers(recipe: SynthRecipe, caches: Path, stack: ExitStack) -> dict[str, Teacher]:
    """The models of a recipe by name, which `stack` closes. With `engine = "ray"` local models and the world run on its
    workers; an endpoint is asked from here, since its budget and its back-off are shared.

    Raises:
        ValueError: a model cannot be used, or there is none to run on Ray.
    """
    if recipe.teacher is None:
        raise SettingsError(
            'teacher is missing: name an endpoint (teacher=http://...), the folder of a model, or "world"'
        )
    models: Mapping[str, AnyTeacher] = {
        name: parse_teacher(settings) for name, settings in {"teacher": recipe.teacher, **recipe.models}.items()
    }
    if recipe.engine == "ray" and all(isinstance(settings, EndpointTeacher) for settings in models.values()):
        raise SettingsError(
            "engine: Ray runs local models, and an endpoint is asked from this process; leave engine out, and raise "
            "teacher.parallel"
        )
    opened: dict[str, Teacher] = {}
    for name, settings in models.items():
        cache = caches / f"{name}.jsonl"
        if recipe.engine == "ray" and not isinstance(settings, EndpointTeacher):
            opened[name] = RayModel(open_teacher, settings, cache, recipe.workers, stack)
        else:
            opened[name] = open_teacher(settings, cache)
        stack.callback(opened[name].close)
    return opened


def open_teacher(settings: AnyTeacher, cache: Path | None) -> Teacher:
    """The model of some settings, with a file for its answers; a local model and the world need none. Raises ValueError
    where it cannot be used."""
    if isinstance(settings, EndpointTeacher):
        assert cache is not None
        return EndpointModel(settings, cache)
    if isinstance(settings, LocalTeacher):
        from tutelage.synth.local_teacher import LocalModel  # imports torch, which an endpoint does not need

        return LocalModel(settings, cache)
    return Oracle(settings)
