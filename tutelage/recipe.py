"""A recipe: its schema, read from a TOML file and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tutelage.config import Settings, SettingsError, apply_overrides, convert, read_toml, suggest
from tutelage.evaluate.session import NEEDS
from tutelage.evaluate.suites import SUITES
from tutelage.files import read_json
from tutelage.io.hub import find_data_set
from tutelage.model.hub import find_checkpoint, is_hub_name
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.stages import AnyStage
from tutelage.stages.base import TOKENIZER, Stage, base_of
from tutelage.stages.data import DataSettings, find_data
from tutelage.stages.run import LAYOUT
from tutelage.stages.train_stage import trained_stages
from tutelage.tokenizer import TokenizerSettings
from tutelage.train.layout import LayoutSettings


class TokenizerRecipe(TokenizerSettings, frozen=True, kw_only=True):
    """How the tokenizer is trained.

    data: the names of the data it learns from; what pre-training reads where left out. Naming the conversations too
          gives their words tokens of their own, but then other conversations make another tokenizer.
    """

    data: list[str] | None = None


class Recipe(Settings, frozen=True, kw_only=True):
    """Everything that a run is made of.

    name:      names the run's folder, runs/NAME.
    note:      what to expect, shown after the run.
    model:     sizes of a model trained from scratch.
    tokenizer: how its tokenizer is trained.
    data:      what stages read and evaluations ask, by name.
    stages:    what is trained, in order, by name.
    evaluate:  suites by stage (docs/evaluation.md); of a stage fine-tuned from an external checkpoint those it has data
               for, where none are named.
    layout:    how the processes that torchrun starts share the work; it does not change the result.
    seed:      sets random weights.
    """

    name: str
    note: str = ""
    model: ModelSettings = ModelSettings()
    tokenizer: TokenizerRecipe = TokenizerRecipe()
    data: dict[str, DataSettings]
    stages: dict[str, AnyStage]
    evaluate: dict[str, list[str]] = msgspec.field(default_factory=dict)
    layout: LayoutSettings = LayoutSettings()
    seed: int = 0


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check that everything it names exists; SettingsError, in one sentence, where not."""
    table = read_toml(path)
    _find_files(table, path.parent)
    _refuse_unknown_names(table, overrides, str(path))
    table = apply_overrides(table, overrides)
    _find_files(table, Path.cwd())
    recipe = with_defaults(convert(table, Recipe, str(path)))
    check_recipe(recipe, str(path))
    return recipe


def with_defaults(recipe: Recipe) -> Recipe:
    """The recipe with what suits a stage that is fine-tuned from an external checkpoint: texts to measure forgetting on
    where the checkpoint's own are not named, and evaluations where the recipe names none. `evaluate.STAGE = []` asks
    for none. A recipe that names something that is missing stays as it is, for `check_recipe`."""
    stages, data = dict(recipe.stages), dict(recipe.data)
    try:
        for name, stage in recipe.stages.items():
            if texts := stage.default_data():
                stages[name] = msgspec.structs.replace(stage, data=dict.fromkeys(texts, 1.0))
                data = {**texts, **data}
        found = msgspec.structs.replace(recipe, stages=stages, data=data)
        suites = {
            name: stage.default_suites(found)
            for name, stage in stages.items()
            if stage.fine_tunes and name not in recipe.evaluate and not base_of(stage, stages)[1].trains
        }
    except (KeyError, ValueError):
        return recipe
    return msgspec.structs.replace(found, evaluate={**recipe.evaluate, **suites})


def _refuse_unknown_names(table: dict[str, Any], overrides: Sequence[str], where: str) -> None:
    """SettingsError where an override sets one thing of a stage, or of data, that the recipe does not have; a new one
    is given whole, or with its kind."""
    names = [override.partition("=")[0].strip() for override in overrides]
    for part, noun in (("stages", "stage"), ("data", "data")):
        known = table.get(part)
        for name in names:
            first, _, rest = name.partition(".")
            inner, dot, _ = rest.partition(".")
            if first != part or not dot or not isinstance(known, dict) or inner in known:
                continue
            if not {f"{part}.{inner}", f"{part}.{inner}.kind"}.intersection(names):
                known_names = suggest(inner, known)
                raise SettingsError(f"{where}: {name}: there is no {noun} '{inner}'{known_names}")


def _find_files(table: dict[str, Any], folder: Path) -> None:
    """Full paths: files that a recipe names are relative to it, those on the command line to the working directory. A
    model or data set of the hub is downloaded."""
    for part in ("data", "stages"):
        tables = table.get(part)
        for entry in tables.values() if isinstance(tables, dict) else ():
            for key in ("path", "held_out"):
                if isinstance(entry, dict) and isinstance(entry.get(key), str):
                    entry[key] = str((folder / _find_path(part, entry, key, folder)).resolve())


def _find_path(part: str, entry: Mapping[str, Any], key: str, folder: Path) -> Path:
    """A path of a recipe; what is on the hub and not in `folder` is downloaded."""
    path = Path(entry[key])
    if part == "data" and entry.get("kind") in ("chat", "documents"):
        return find_data_set(path, folder)
    if part == "stages" and entry.get("kind") == "model" and not (folder / path).exists() and is_hub_name(str(path)):
        return find_checkpoint(path).resolve()
    return path


def check_recipe(recipe: Recipe, where: str) -> None:
    """SettingsError where a name does not exist, or where the recipe is known to fail before anything runs."""
    if not recipe.stages:
        raise SettingsError(f"{where}: [stages] is empty; a recipe needs at least one stage")
    try:
        resolve(recipe.model, vocab=1)  # the vocabulary is not known yet, and no size depends on it
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None
    for name in recipe.tokenizer.data or ():
        find_data(name, recipe.data, f"{where}: tokenizer.data")
    above: list[str] = []
    for name, stage in recipe.stages.items():
        _check_stage(recipe, name, stage, above, f"{where}: stages.{name}")
        above.append(name)
    for name, suites in recipe.evaluate.items():
        _check_suites(recipe, name, suites, where)


def _check_stage(recipe: Recipe, name: str, stage: Stage, above: list[str], here: str) -> None:
    if name in (TOKENIZER, "data") or not name.replace("-", "").replace("_", "").isalnum():
        raise SettingsError(f"{here}: '{name}' cannot be a stage's name; use letters, digits, - and _")
    if stage.parent is not None and stage.parent not in above:
        if stage.parent in recipe.stages:
            raise SettingsError(f"{here}.from: '{stage.parent}' is below '{name}'; put it above")
        known = suggest(stage.parent, above)
        raise SettingsError(f"{here}.from names stage '{stage.parent}', which does not exist{known}")
    stage.check(name, recipe, here)


def _check_suites(recipe: Recipe, name: str, suites: Sequence[str], where: str) -> None:
    here = f"{where}: evaluate.{name}"
    if name not in recipe.stages:
        known = suggest(name, recipe.stages)
        raise SettingsError(f"{where}: evaluate names stage '{name}', which does not exist{known}")
    trained = trained_stages(recipe.stages)
    if name not in trained:
        title = recipe.stages[name].title
        raise SettingsError(f"{here}: '{name}' is a {title}, and only stages that are trained here are evaluated")
    has = trained[name].holds(recipe)
    for suite in suites:
        if suite not in SUITES:
            raise SettingsError(f"{here}: there is no suite '{suite}'{suggest(suite, SUITES)}")
        for need in sorted(SUITES[suite].needs - has):
            raise SettingsError(f"{here}: '{suite}' needs {NEEDS[need]}")


def read_recipe(path: Path) -> Recipe:
    """The recipe.json that a run wrote.

    Raises:
        ValueError: it is broken, or was written by a version that this one cannot read.
    """
    table = read_json(path)
    if not isinstance(table, dict):
        raise ValueError(f"{path} is not a recipe; run the recipe again in another folder")
    older = table.pop("layout") if isinstance(table.get("layout"), int) else None  # now a setting has this name
    if table.pop("format", older) != LAYOUT:
        raise ValueError(
            f"{path.parent} was written by another version of Tutelage, which this one cannot read; make it again in "
            f"another folder: tutelage run RECIPE out=DIR, or tutelage sft ... --out DIR"
        )
    return convert(table, Recipe, str(path))
