"""A ladder: small models of several sizes and budgets, as ordinary runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.config import Settings, SettingsError, apply_overrides, convert, read_toml
from tutelage.corpus.quality.ngrams import ORDER
from tutelage.model.sizes import ModelConfig, ModelSettings, resolve
from tutelage.recipe import Recipe, TokenizerRecipe, check_recipe
from tutelage.runner import Run
from tutelage.scaling.points import parameter_counts
from tutelage.stages.base import BATCH_TOKENS
from tutelage.stages.pretrain import Pretrain

_SET_BY_LADDER = ("kind", "steps", "epochs", "lr", "batch_rows", "from")


class Sweep(Settings, frozen=True, kw_only=True):
    """Learning rates at the sizes of one budget: the peak rate times each of the factors."""

    budget: float
    factors: list[float]


class Baselines(Settings, frozen=True, kw_only=True):
    """Models to compare with, at each size of some of the ladder's budgets: an LSTM of as many parameters on the same
    batches, at the best of its peak learning rates, and n-grams of as much text."""

    budgets: list[float]
    lrs: list[float]
    layers: int = 2
    order: int = ORDER


class Ladder(Settings, frozen=True, kw_only=True):
    """A ladder.

    name:      names the folder, runs/NAME.
    budgets:   training FLOPs, 6 N D, where N counts the weights of matrix products.
    sizes:     depth and width of each model, by name; `model` has their other settings.
    tokens_per_parameter: a size is trained at a budget if D / N lies in this range.
    lr, lr_width, lr_exponent: the peak learning rate is lr * (width / lr_width)^lr_exponent.
    sweep:     further learning rates.
    baselines: an LSTM and n-grams beside.
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
    baselines: Baselines | None = None
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
    if ladder.baselines is not None and not set(ladder.baselines.budgets) <= set(ladder.budgets):
        raise SettingsError(f"{path}: baselines.budgets needs budgets of the ladder; choose from {ladder.budgets}")
    if taken := [name for name in _SET_BY_LADDER if name in ladder.stage]:
        raise SettingsError(
            f"{path}: stage.{taken[0]} is set by the ladder; remove it, and give budgets, lr, batch_tokens"
        )
    held_out = _template(ladder, str(path)).held_out
    if ladder.baselines is not None and not (ladder.baselines.lrs and held_out):
        raise SettingsError(f"{path}: baselines needs lrs, such as [3e-3, 1e-2], and stage.held_out, such as 0.01")
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


def runs_of(ladder: Ladder, folder: Path) -> dict[str, Run]:
    """The run of each size."""
    return {size: Run(recipe_of(ladder, size), folder / size) for size in sizes_of(ladder)}


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
