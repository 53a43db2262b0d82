"""The settings of a synthesis."""

from __future__ import annotations

import hashlib
import inspect
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from tutelage.config import Settings, SettingsError, apply_overrides, convert, read_toml, to_plain
from tutelage.synth.gate import GateSettings
from tutelage.synth.method import Method
from tutelage.synth.methods import AnyMethod
from tutelage.synth.rows import WORLD
from tutelage.synth.teacher import AnyTeacher
from tutelage.world import WorldSettings


class SynthRecipe(Settings, frozen=True, kw_only=True):
    """A synthesis: a method, and others whose input is what the one before made.

    make:     the first method: its kind and settings.
    then:     further methods, in order.
    input:    the rows that `make` works on: a file, or "world".
    limit:    of the input, only so many rows.
    teacher:  who answers: an address, the folder of a model, "world", or a table of settings.
    models:   further models by name, for methods that ask others, such as "judge" or "user".
    gate:     what a made row may not have.
    min_kept: fewer kept rows are an error, after everything is written.
    engine:   where local models run: in this process, or as copies on the workers of a Ray cluster.
    workers:  of Ray, with a core each; 0: one per core of this machine or of the cluster.
    seed:     decides all random choices.
    world:    the built-in world, where it is the input.
    """

    name: str
    make: AnyMethod
    then: list[AnyMethod] = []
    input: str | None = None
    limit: int | None = None
    teacher: str | AnyTeacher | None = None
    models: dict[str, str | AnyTeacher] = {}
    gate: GateSettings = GateSettings()
    min_kept: int = 1
    engine: Literal["local", "ray"] = "local"
    workers: int = 0
    seed: int = 0
    world: WorldSettings = WorldSettings()

    @property
    def steps(self) -> list[tuple[str, Method]]:
        """All methods in order, each with the name of its step."""
        methods: list[Method] = [self.make, *self.then]
        if len(methods) == 1:
            return [(kind_of(self.make), self.make)]
        return [(f"{number}-{kind_of(method)}", method) for number, method in enumerate(methods, 1)]

    def __post_init__(self) -> None:
        if self.input is None:
            raise SettingsError('input is missing: name the file of rows to start from, or "world"')
        if self.workers and self.engine == "local":
            raise SettingsError("workers is for engine=ray; a local model runs teacher.parallel requests at once")
        methods: list[Method] = [self.make, *self.then]
        for before, method in pairwise(methods):
            if before.makes != method.takes and not (before.makes == "conversations" and method.takes == "prompts"):
                raise SettingsError(
                    f"then: '{kind_of(method)}' works on {method.takes}, but '{kind_of(before)}' makes {before.makes}"
                )
        for method in methods:
            if method.draws and method.count is None:
                raise SettingsError(f"'{kind_of(method)}' makes rows without end; set count")


def kind_of(method: Method) -> str:
    """The name of a method in recipes."""
    return str(method.__struct_config__.tag)


def load_recipe(path: Path, overrides: list[str]) -> SynthRecipe:
    """Read a recipe. Paths in the file are relative to it, those of overrides to the working directory.

    Raises:
        SettingsError: it is invalid.
    """
    table = read_toml(path)
    _resolve(table, path.parent)
    table = apply_overrides(table, overrides)
    return convert(table, SynthRecipe, str(path))


def _resolve(table: dict[str, Any], folder: Path) -> None:
    if isinstance(table.get("input"), str) and table["input"] != WORLD:
        table["input"] = str(folder / table["input"])
    gate = table.get("gate")
    if isinstance(gate, dict) and isinstance(gate.get("against"), list):
        gate["against"] = [str(folder / path) for path in gate["against"]]


def template_hash(method: Method) -> str:
    """A hash of a method's code and settings: another prompt or reader gives another one."""
    code = inspect.getsource(sys.modules[type(method).__module__])
    return hashlib.sha256(f"{code}\0{to_plain(method)}".encode()).hexdigest()[:12]
