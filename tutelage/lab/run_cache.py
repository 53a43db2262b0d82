"""Runs the recipes of findings in a cache, so that no finished stage runs twice."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.config import apply_overrides, convert
from tutelage.evaluate.statistics import ratio_of_sums
from tutelage.files import read_json, to_json, write_bytes
from tutelage.lab.estimates import Estimate
from tutelage.recipe import Recipe, check_recipe
from tutelage.runner import Run
from tutelage.stages.base import EVALUATIONS

Rows = Callable[[], Iterable[Mapping[str, object]]]
QUICK_ROWS = 40  # of each data file in a quick run


def read_recipe(text: str, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from its TOML text.

    Raises:
        SettingsError: a mistake in the recipe, in one sentence that begins with `where`.
    """
    recipe = convert(apply_overrides(tomllib.loads(text), overrides), Recipe, where)
    check_recipe(recipe, where)
    return recipe


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: its metrics by stage and dotted name, such as "knowledge.held_out"."""

    run: Run
    summary: dict[str, Any]
    trained: tuple[str, ...]  # the stages that were not finished already

    def rate(self, stage: str, name: str) -> Estimate:
        """A measured rate."""
        value, low, high = (self.summary[f"evaluate.{stage}.{name}.{part}"] for part in ("rate", "low", "high"))
        return Estimate(value, low, high)

    def outcomes(self, stage: str, name: str) -> np.ndarray:
        """The outcome per item behind a rate of "format" or "knowledge": int64[items] of 0 and 1. All stages of a run
        have the same items in the same order."""
        suite, _, part = name.partition(".")
        return np.array([correct for _, correct in self._stored_results(stage, suite)["outcomes"][part]], np.int64)

    def forgetting(self, stage: str) -> Estimate:
        """Relative increase of the bits per byte on held-out base text from before a stage to after it."""
        value, low, high = (self.summary[f"evaluate.{stage}.forgetting.{part}"] for part in ("increase", "low", "high"))
        return Estimate(value, low, high, "relative_change")

    def base_loss_change(self, first: str, second: str) -> Estimate:
        """Relative change of the bits on held-out base text from after the first stage to after the second, with an
        interval by bootstrap over its documents."""
        value, low, high = ratio_of_sums(self._base_text_bits(second), self._base_text_bits(first))
        return Estimate(value, low, high, "relative_change")

    def _base_text_bits(self, stage: str) -> np.ndarray:
        """Bits per held-out base document after a stage, float64[documents]."""
        parts = self._stored_results(stage, "forgetting")["outcomes"].values()
        return np.array([after for rows in parts for _, _, after, _ in rows], np.float64)

    def _stored_results(self, stage: str, suite: str) -> Any:
        return read_json(self.run.folder / stage / EVALUATIONS / f"{suite}.json")["results"]


@dataclass
class RunCache:
    """A cache folder with a run per recipe; `overrides` apply to every recipe."""

    cache: Path
    overrides: tuple[str, ...] = ()
    finished: list[FinishedRun] = field(default_factory=list)

    def run(
        self, recipe: str, folder: str, rows: Mapping[str, Rows] | None = None, quick: Sequence[str] | None = None
    ) -> FinishedRun:
        """Run and evaluate the unfinished stages of a recipe in TOML. `rows` are data files of its own, which it finds
        as ROWS/NAME.jsonl; they are written first, in a quick run a few of them. A recipe may be run in parts: rows
        that depend on the base model are made once that is trained, and then the whole is run in the same folder.
        `quick` are the overrides of a quick run where the finding's own belong to another recipe."""
        place = self.cache / f"{folder}-rows"
        for name, make in (rows or {}).items():
            some = islice(make(), QUICK_ROWS) if self.overrides else make()
            write_bytes(place / f"{name}.jsonl", b"".join(to_json(row, indent=None) + b"\n" for row in some))
        stages = tomllib.loads(recipe)["stages"]
        own = self.overrides if quick is None or not self.overrides else quick
        overrides = [text for text in own if not text.startswith("stages.") or text.split(".")[1] in stages]
        checked = read_recipe(recipe.replace("ROWS", str(place)), f"the recipe for {folder}", overrides)
        run = Run(checked, self.cache / folder, "--cache DIR")
        trained = [name for name in run.recipe.stages if run.stage_done(name) is None]
        parts = [other for other in self.finished if other.run.folder == run.folder]
        trained += [name for part in parts for name in part.trained]
        finished = FinishedRun(run, run.run(), tuple(trained))
        self.finished = [*(other for other in self.finished if other.run.folder != run.folder), finished]
        return finished
