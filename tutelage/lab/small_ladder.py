"""The ladder of tiny models that findings on scale share: sizes, budgets, recipes, and the points of the trainings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.run_cache import RunCache
from tutelage.model.hub import load_config
from tutelage.scaling.points import stage_row

DEPTH, BATCH = 2, 1024
WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128)
BUDGETS = (2e10, 6e10, 2e11, 6e11)
SIZES_OF_BUDGET = 5
# Muon, whose best rate hardly moves with the width, learns enough in few steps: with AdamW the best size
# of every budget is the one with the most steps.
LR = 2e-2
SWEPT_WIDTHS, SWEPT_LRS = (16, 32, 64, 128), (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2)
SWEPT_STEPS = 250
PEOPLE = 12_000  # told of once: 6M characters, more than the longest training reads

SETUP = (
    f"Character models of {DEPTH} layers and widths from {WIDTHS[0]} to {WIDTHS[-1]} read the built-in world's text "
    f"about {PEOPLE:,} people, each told of once, so that no token is repeated. {BATCH:,} tokens a step; each "
    "training has a schedule of its own that ends. N counts the weights of matrix products, the output layer included. "
)


class Arm(NamedTuple):
    """A training: the stage `stage` in the run of a width."""

    width: int
    stage: str
    seed: int
    group: float  # the budget, or the learning rate of a sweep
    steps: int
    lr: float
    optimizer: str


def matrices(width: int) -> int:
    """The weights of matrix products of a width, up to the size of the vocabulary."""
    return 12 * DEPTH * width**2 + 80 * width


def widths_of(budget: float) -> list[int]:
    """The widths of a budget: those around 15 tokens per parameter."""
    best = math.log(math.sqrt(budget / 90))
    return sorted(sorted(WIDTHS, key=lambda width: abs(math.log(matrices(width)) - best))[:SIZES_OF_BUDGET])


def budget_arms() -> list[Arm]:
    """The trainings of all budgets."""
    return [
        Arm(width, f"w{width}_flops_{budget:.0e}_{seed}".replace("+", ""), seed, budget,
            max(1, round(budget / 6 / matrices(width) / BATCH)), LR, "muon")
        for budget in BUDGETS for width in widths_of(budget) for seed in SEEDS
    ]  # fmt: skip


def sweep_arms() -> list[Arm]:
    """The trainings of the sweeps of the learning rate."""
    return [
        Arm(width, f"w{width}_lr_{lr:.4f}_{seed}".replace(".", "_"), seed, lr, SWEPT_STEPS, lr, "adamw")
        for width in SWEPT_WIDTHS for lr in SWEPT_LRS for seed in SEEDS
    ]  # fmt: skip


def folder(arms: list[Arm], width: int) -> str:
    """Where the models of a width are trained."""
    return f"{'sweep' if arms[0].stage.partition('_')[2].startswith('lr') else 'ladder'}-{width}"


def recipe(width: int, arms: list[Arm]) -> str:
    """The recipe of a width, with a stage for each of its arms."""
    heads = 1 if width < 16 else 2 if width < 64 else 4
    stages = "\n".join(
        f'{arm.stage} = {{ kind = "pretrain", data = {{ text = 1 }}, steps = {arm.steps}, batch_tokens = {BATCH}, '
        f"held_out = 0.01, lr = {arm.lr:.4g}, seed = {arm.seed}, "
        f'optimizer = {{ kind = "{arm.optimizer}" }} }}'
        for arm in arms
        if arm.width == width
    )
    return f"""\
name      = "ladder"
model     = {{ depth = {DEPTH}, width = {width}, heads = {heads}, context = 128, norm = "layer", mlp = "relu2" }}
tokenizer = {{ kind = "char", data = ["text"] }}

[data]
text = {{ kind = "world", people = {PEOPLE}, versions = 1, unknown = 0.0 }}

[stages]
{stages}
"""


def quick(arms: list[Arm], width: int) -> tuple[str, ...]:
    """Overrides that shrink a width to seconds."""
    return ("data.text.people=60", *(f"stages.{arm.stage}.steps=2" for arm in arms if arm.width == width))


def train(runs: RunCache, arms: list[Arm]) -> Iterator[tuple[Arm, Mapping[str, Any]]]:
    """Train the arms, smallest models first; each with its row of `scaling.points`. A quick run has one seed."""
    arms = [arm for arm in arms if not (runs.overrides and arm.seed)]
    for width in sorted({arm.width for arm in arms}):
        own = [arm for arm in arms if arm.width == width]
        run = runs.run(recipe(width, arms), folder(arms, width), quick=quick(arms, width)).run
        for arm in own:
            done = run.stage_done(arm.stage)
            assert done is not None
            yield arm, stage_row(done, load_config(run.folder / arm.stage))


class Minimum(NamedTuple):
    """The place of the least loss in a logarithm, that of every draw, and how far the loss at the better end is above
    it, as a share."""

    place: float
    draws: np.ndarray
    rise: float


def minimum(log: np.ndarray, loss: np.ndarray, draws: int = 1000, seed: int = 0) -> Minimum:
    """The minimum of the least-squares parabola through points [P], within their range; residuals are drawn again."""
    rng, grid = np.random.default_rng(seed), np.linspace(log.min(), log.max(), 401)
    centre = log.mean()
    solve = np.linalg.pinv(np.vander(log - centre, 3))
    fitted = np.vander(log - centre, 3) @ (solve @ loss)
    residuals = (loss - fitted) * math.sqrt(len(log) / max(1, len(log) - 3))
    again = (fitted + residuals[rng.integers(len(log), size=(draws, len(log)))]) @ solve.T
    curve = np.vander(grid - centre, 3) @ (solve @ loss)
    drawn = grid[(np.vander(grid - centre, 3) @ again.T).argmin(axis=0)]
    return Minimum(float(grid[curve.argmin()]), drawn, float(min(curve[0], curve[-1]) / curve.min() - 1))
