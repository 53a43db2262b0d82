"""A ladder: small models of several sizes and budgets, trained as ordinary runs, and their points."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.config import Settings, SettingsError, apply_overrides, convert, read_toml
from tutelage.model.hub import load_config
from tutelage.model.sizes import ModelConfig, ModelSettings, resolve
from tutelage.progress import status
from tutelage.recipe import Recipe, TokenizerRecipe, check_recipe
from tutelage.runner import Run
from tutelage.scaling.points import parameter_counts, stage_row, write_points
from tutelage.stages.base import BATCH_TOKENS
from tutelage.stages.pretrain import Pretrain

_SET_BY_LADDER = ("kind", "steps", "epochs", "lr", "batch_rows", "from")
POINTS, SWEEPS = "points.csv", "sweeps.csv"


class Sweep(Settings, frozen=True, kw_only=True):
    """Learning rates at the sizes of one budget: the peak rate times each of the factors."""

    budget: float
    factors: list[float]


class Ladder(Settings, frozen=True, kw_only=True):
    """A ladder.

    name:      names the folder, runs/NAME.
    budgets:   training FLOPs, 6 N D, where N counts the weights of matrix products.
    sizes:     depth and width of each model, by name; `model` has their other settings.
    tokens_per_parameter: a size is trained at a budget if D / N lies in this range.
    lr, lr_width, lr_exponent: the peak learning rate is lr * (width / lr_width)^lr_exponent.
    sweep:     further learning rates.
    tokenizer, data: as in a recipe.
    stage:     settings of pre-training, without those that the ladder sets.
    """

    name: str
    budgets: list[float]
    sizes: dict[str, dict[str, int]]
    tokens_per_parameter: tuple[float, float] = (1.0, 500.0)
    lr: float
    lr_width: int
    lr_exponent: float = 0.0
    sweep: Sweep | None = None
    model: dict[str, Any] = {}
    tokenizer: dict[str, Any]
    data: dict[str, Any]
    stage: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arm:
    """One training of a ladder: the stage `stage` of the run of a size."""

    size: str
    stage: str
    budget: float
    factor: float
    lr: float
    steps: int
    parameters: int
    tokens: int


def load_ladder(path: Path, overrides: Sequence[str] = ()) -> Ladder:
    """Read a ladder and check the recipe of every size; SettingsError, in one sentence, if there is a mistake."""
    ladder = convert(apply_overrides(read_toml(path), overrides), Ladder, str(path))
    if not ladder.budgets or min(ladder.budgets) <= 0:
        raise SettingsError(f"{path}: budgets needs FLOPs above 0, such as budgets = [1e12, 3e12]")
    if taken := [name for name in _SET_BY_LADDER if name in ladder.stage]:
        raise SettingsError(
            f"{path}: stage.{taken[0]} is set by the ladder; remove it, and give budgets, lr, batch_tokens"
        )
    _template(ladder, str(path))
    sizes = sizes_of(ladder, str(path))
    if not sizes:
        low, high = ladder.tokens_per_parameter
        raise SettingsError(f"{path}: no size has {low:g} to {high:g} tokens per parameter at any budget; change sizes")
    for size in sizes:
        recipe_of(ladder, size, str(path))
    return ladder


def sizes_of(ladder: Ladder, where: str = "the ladder") -> list[str]:
    """The sizes that are trained at some budget."""
    return list(dict.fromkeys(arm.size for arm in arms(ladder, where)))


def arms(ladder: Ladder, where: str = "the ladder") -> list[Arm]:
    """All trainings, cheapest first."""
    planned = []
    sweep = ladder.sweep
    for size in ladder.sizes:
        config = _config(ladder, size, where)
        lr = ladder.lr * (config.width / ladder.lr_width) ** ladder.lr_exponent
        for budget in sorted({*ladder.budgets, *([sweep.budget] if sweep else [])}):
            factors = [1.0] if budget in ladder.budgets else []
            if sweep is not None and budget == sweep.budget:
                factors += [factor for factor in sweep.factors if factor not in factors]
            planned += [
                arm for factor in factors if (arm := _arm(ladder, size, config, budget, factor, lr)) is not None
            ]
    return sorted(planned, key=lambda arm: (arm.factor != 1, arm.budget, arm.parameters, arm.factor))


def recipe_of(ladder: Ladder, size: str, where: str = "the ladder") -> Recipe:
    """The recipe of a size, with a stage for each of its arms."""
    stages = {
        arm.stage: {**ladder.stage, "kind": "pretrain", "steps": arm.steps, "lr": arm.lr}
        for arm in arms(ladder, where)
        if arm.size == size
    }
    table = {
        "name": f"{ladder.name}-{size}",
        "model": {**ladder.model, **ladder.sizes[size]},
        "tokenizer": ladder.tokenizer,
        "data": ladder.data,
        "stages": stages,
    }
    recipe = convert(table, Recipe, f"{where}, size {size}")
    check_recipe(recipe, f"{where}, size {size}")
    return recipe


def climb(
    ladder: Ladder, folder: Path, hours: float | None = None, clock: Callable[[], float] = time.monotonic
) -> list[Arm]:
    """Train the arms that are not finished, cheapest first, and write points.csv and sweeps.csv; returns the arms that
    are left because the next one is not expected to end within `hours`.

    Raises:
        ValueError: a run cannot be trained.
        Stopped: by Ctrl-C or SIGTERM; the same command resumes.
    """
    runs = runs_of(ladder, folder)
    end = math.inf if hours is None else clock() + 3600 * hours
    left: list[Arm] = []
    speeds: dict[str, float] = {}
    for arm in arms(ladder):
        run = runs[arm.size]
        if run.stage_done(arm.stage) is None:
            # Small models reach fewer FLOPs per second; without a speed of this size, the slowest one counts.
            speed = speeds.get(arm.size, min(speeds.values(), default=math.inf))
            if clock() + arm.budget / speed > end or left:
                left.append(arm)
                continue
            begin = clock()
            status(f"{arm.size}: {arm.budget:.3g} FLOPs, {arm.tokens:,} tokens, lr {arm.lr:.3g}")
            run.run(only=arm.stage)
            speeds[arm.size] = arm.budget / max(1e-9, clock() - begin)
    write_rows(ladder, folder)
    return left


def runs_of(ladder: Ladder, folder: Path) -> dict[str, Run]:
    """The run of each size."""
    return {size: Run(recipe_of(ladder, size), folder / size) for size in sizes_of(ladder)}


def write_rows(ladder: Ladder, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write the points of all finished arms, and those of the sweep with the points at its budget; returns both."""
    points, sweeps, runs = [], [], runs_of(ladder, folder)
    for arm in arms(ladder):
        stage = runs[arm.size].stage_done(arm.stage)
        if stage is None:
            continue
        config = load_config(folder / arm.size / arm.stage)
        row = {"size": arm.size, "budget": arm.budget, **stage_row(stage, config)}
        if arm.factor == 1:
            points.append(row)
        if ladder.sweep is not None and arm.budget == ladder.sweep.budget:
            sweeps.append(row)
    for name, rows in ((POINTS, points), (SWEEPS, sweeps)):
        if rows:
            write_points(folder / name, rows)
    return points, sweeps


def _arm(ladder: Ladder, size: str, config: ModelConfig, budget: float, factor: float, lr: float) -> Arm | None:
    """The training of a size at a budget; None outside of the ladder's range of tokens per parameter."""
    parameters = parameter_counts(config)["matrices"]
    tokens = budget / 6 / parameters
    low, high = ladder.tokens_per_parameter
    if not low <= tokens / parameters <= high:
        return None
    batch = _template(ladder).batch_tokens or BATCH_TOKENS
    steps = max(1, round(tokens / batch))
    mark = f"{budget:.3g}".replace("+", "").replace(".", "_")
    stage = f"flops_{mark}" if factor == 1 else f"flops_{mark}_lr_{factor:g}".replace(".", "_")
    return Arm(size, stage, budget, factor, lr * factor, steps, parameters, steps * batch)


def _template(ladder: Ladder, where: str = "the ladder") -> Pretrain:
    """The settings that all stages share."""
    return convert({**ladder.stage, "kind": "pretrain", "steps": 1}, Pretrain, f"{where}: stage")


def _config(ladder: Ladder, size: str, where: str) -> ModelConfig:
    """The sizes of a model, with the vocabulary that the recipe asks for."""
    settings = convert({**ladder.model, **ladder.sizes[size]}, ModelSettings, f"{where}, size {size}")
    tokenizer = convert(ladder.tokenizer, TokenizerRecipe, f"{where}: tokenizer")
    try:
        return resolve(settings, tokenizer.vocab)
    except ValueError as error:
        raise SettingsError(f"{where}, size {size}: {error}") from None
