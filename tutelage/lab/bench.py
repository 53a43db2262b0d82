"""Where findings are tried: recipes are run in a cache, so that no finished stage is run twice."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.config import apply_overrides, convert
from tutelage.evaluate.statistics import ratio_of_sums
from tutelage.files import read_json
from tutelage.lab.figures import Estimate
from tutelage.recipe import Recipe, check_recipe
from tutelage.runner import Run
from tutelage.stages.base import EVALUATIONS


def read_recipe(text: str, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from its TOML text; SettingsError, in one sentence that begins with `where`, for a mistake."""
    recipe = convert(apply_overrides(tomllib.loads(text), overrides), Recipe, where)
    check_recipe(recipe, where)
    return recipe


@dataclass(frozen=True)
class FinishedRun:
    """A recipe that was run: its figures by stage and dotted name, such as "knowledge.held_out"."""

    run: Run
    summary: dict[str, Any]
    trained: tuple[str, ...]  # the stages that were not finished before

    def rate(self, stage: str, name: str) -> Estimate:
        """A measured share."""
        value, low, high = (self.summary[f"evaluate.{stage}.{name}.{part}"] for part in ("rate", "low", "high"))
        return Estimate(value, low, high)

    def outcomes(self, stage: str, name: str) -> np.ndarray:
        """Whether each item behind a rate was right: int64[items] of 0 and 1, the same items in the same order at every
        stage of the run. Kept of "format" and of the rates of "knowledge"."""
        suite, _, part = name.partition(".")
        return np.array([right for _, right in self._stored(stage, suite)["outcomes"][part]], np.int64)

    def forgetting(self, stage: str) -> Estimate:
        """How much more the base model's held-out text costs after a stage than before it, in bits per byte."""
        value, low, high = (self.summary[f"evaluate.{stage}.forgetting.{part}"] for part in ("increase", "low", "high"))
        return Estimate(value, low, high, "change")

    def text_cost(self, first: str, second: str) -> Estimate:
        """How much more the base model's held-out text costs after the second stage than after the first, in bits, by
        a bootstrap over its documents."""
        value, low, high = ratio_of_sums(self._bits(second), self._bits(first))
        return Estimate(value, low, high, "change")

    def _bits(self, stage: str) -> np.ndarray:
        """Bits of each held-out document after a stage, float64[documents]."""
        parts = self._stored(stage, "forgetting")["outcomes"].values()
        return np.array([after for rows in parts for _, _, after, _ in rows], np.float64)

    def _stored(self, stage: str, suite: str) -> Any:
        return read_json(self.run.folder / stage / EVALUATIONS / f"{suite}.json")["results"]


@dataclass
class Bench:
    """A cache to run recipes in, each in a folder of its own; `overrides` change every recipe."""

    cache: Path
    overrides: tuple[str, ...] = ()
    finished: list[FinishedRun] = field(default_factory=list)

    def run(self, recipe: str, folder: str) -> FinishedRun:
        """Run what is not finished of a recipe, in TOML, and evaluate it."""
        made_of = read_recipe(recipe, f"the recipe for {folder}", self.overrides)
        run = Run(made_of, self.cache / folder, "--cache DIR")
        trained = tuple(name for name in run.recipe.stages if run.stage_done(name) is None)
        finished = FinishedRun(run, run.run(), trained)
        self.finished.append(finished)
        return finished
