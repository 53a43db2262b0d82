"""Compares two finished runs or stages. One counts as better only if its paired 95% interval excludes 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tutelage.evaluate.significance import holm, mcnemar
from tutelage.evaluate.statistics import paired_difference, ratio_of_sums
from tutelage.files import read_json
from tutelage.find_model import check_stage_name
from tutelage.report.labels import LOWER_IS_BETTER, in_display_order
from tutelage.report.read import Finished, PieceBits, dotted, read_stage
from tutelage.stages.base import RECIPE, STAGE

Verdict = Literal["better", "worse", "no difference shown"]
# A bootstrap over fewer pieces of text gives no useful interval.
MIN_PIECES, MIN_ROWS = 10, 3
PARTS = ("data", "stages", "evaluate")
COSTS = ("parameters", "steps", "tokens", "trained_tokens", "tokens_per_second", "seconds", "peak_rss_bytes")


def compare(first: Path, second: Path) -> dict[str, Any]:
    """The differences between two runs, whose stages are paired by name, or between two stages RUN/STAGE.

    Plain data. Under `stages`, for each pair:
      rates:  both rates by dotted name; where both have outcomes also `paired`: the difference, second minus first,
              over the items that both were asked, with its 95% interval, the verdict on the second, McNemar's p-value,
              that value with Holm's correction for all rates compared, and the items that only one got right. Questions
              about the built-in world are paired only where both runs use the same world.
      losses: bits per byte on held-out text of the base model, the relative change from first to second, and the
              verdict, where both were measured on the same text.
      row_losses: nats per trained token on held-out rows, likewise, where both held out the same rows.
      figures, costs: numbers of both without an interval, and so without a verdict.
    Under `settings`: every setting, by dotted name, that differs.

    Raises:
        ValueError: a path is neither a run nor a stage, or the two have no stage in common.
    """
    runs = [_run_of(path) for path in (first, second)]
    recipes = [_recipe(run) for run in runs]
    of_run = [path == run for path, run in zip((first, second), runs, strict=True)]
    if of_run[0] != of_run[1]:
        raise ValueError(f"{first} and {second} are a run and a stage; give two runs, or two stages RUN/STAGE")
    if of_run[0]:
        here, there = (_finished_stages(run, recipe) for run, recipe in zip(runs, recipes, strict=True))
        pairs = [(name, name) for name in here if name in there]
        if not pairs:
            raise ValueError(
                f"{first} and {second} have no finished stage of the same name; name one of each: RUN/STAGE"
            )
        settings = _differences(*(_common_stages(recipe, recipes) for recipe in recipes))
    else:
        names = [path.resolve().name for path in (first, second)]
        pairs = [(names[0], names[1])]
        settings = _differences(*(_of_stage(recipe, name) for recipe, name in zip(recipes, names, strict=True)))
    same_questions = _world(recipes[0]) == _world(recipes[1])
    stages = {}
    for first_name, second_name in pairs:
        title = first_name if first_name == second_name else f"{first_name} and {second_name}"
        stages[title] = _pair(read_stage(runs[0] / first_name), read_stage(runs[1] / second_name), same_questions)
    paired = [of["paired"] for pair in stages.values() for of in pair["rates"].values() if "paired" in of]
    for of, adjusted in zip(paired, holm([of["p_value"] for of in paired]), strict=True):
        of["holm"] = adjusted
    return {"first": str(first), "second": str(second), "stages": stages, "settings": settings}


def _run_of(path: Path) -> Path:
    """The folder of the run: the path itself, or the folder of a stage's run."""
    if (path / RECIPE).exists():
        return path
    if (path / STAGE).exists() and (path.parent / RECIPE).exists():
        return path.parent
    check_stage_name(path)
    raise ValueError(f"{path} is neither a run nor a finished stage of one; give RUN or RUN/STAGE: runs/demo/chat")


def _recipe(run: Path) -> dict[str, Any]:
    plain = read_json(run / RECIPE)
    if not isinstance(plain, dict) or not all(isinstance(plain.get(name), dict) for name in PARTS):
        raise ValueError(f"{run / RECIPE} is not a recipe; run the recipe again")
    return plain


def _finished_stages(run: Path, recipe: Mapping[str, Any]) -> list[str]:
    return [name for name in recipe["stages"] if (run / name / STAGE).exists()]


def _common_stages(recipe: Mapping[str, Any], recipes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A recipe cut to the stages that all the recipes have; the names of all its stages become one setting."""
    common = [name for name in recipe["stages"] if all(name in other["stages"] for other in recipes)]
    cut = {key: {name: recipe[key][name] for name in common if name in recipe[key]} for key in ("stages", "evaluate")}
    return {**recipe, **cut, "names of stages": sorted(recipe["stages"])}


def _world(recipe: Mapping[str, Any]) -> tuple[int | None, int | None] | None:
    """What the questions about the built-in world depend on; their ids are the same in every world."""
    worlds = [data for data in recipe["data"].values() if data.get("kind") == "world"]
    return (worlds[0].get("seed"), worlds[0].get("people")) if worlds else None


def _of_stage(recipe: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A recipe cut to one stage, called "stage", and the stages it builds on."""
    stages = recipe["stages"]
    if name not in stages:
        raise ValueError(f"the recipe has no stage '{name}' any more; it has {', '.join(stages)}")
    above: dict[str, Any] = {}
    parent = stages[name].get("from")
    while parent is not None:
        above = {parent: stages[parent], **above}
        parent = stages[parent].get("from")
    kept = {key: value for key, value in recipe.items() if key not in ("stages", "evaluate")}
    return {**kept, "stages": above, "stage": stages[name]}


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ; None where one of the two does not set it."""
    here, there = dotted(first), dotted(second)
    names = [name for name in {**here, **there} if name != "name" and here.get(name) != there.get(name)]
    return {name: {"first": here.get(name), "second": there.get(name)} for name in names}


def _pair(first: Finished, second: Finished, same_questions: bool) -> dict[str, Any]:
    figures = [_figures(stage) for stage in (first, second)]
    return {
        "first": first.name,
        "second": second.name,
        "rates": {
            name: _rate(name, first, second, same_questions or not name.startswith("knowledge."))
            for name in in_display_order(first.rates.keys() & second.rates.keys())
        },
        "losses": {
            name: loss
            for name in first.bits
            if name in second.bits and (loss := _loss(first.bits[name], second.bits[name])) is not None
        },
        "row_losses": {
            name: loss
            for name in first.nats
            if name in second.nats and (loss := _loss(first.nats[name], second.nats[name], MIN_ROWS)) is not None
        },
        "figures": {
            name: {"first": value, "second": figures[1][name]}
            for name, value in figures[0].items()
            if name in figures[1]
        },
        "costs": {name: {"first": getattr(first.info, name), "second": getattr(second.info, name)} for name in COSTS},
    }


def _figures(stage: Finished) -> dict[str, float]:
    """Numbers of a stage without a paired interval: losses and forgetting."""
    held_out = {f"held_out.{name}": loss for name, loss in stage.info.held_out.items()}
    increases = {f"forgetting.{name}.increase": of.increase for name, of in stage.forgetting.items()}
    known = {"loss": stage.info.loss, **held_out, **increases}
    return {name: value for name, value in known.items() if value is not None}


def _rate(name: str, first: Finished, second: Finished, paired: bool) -> dict[str, Any]:
    both: dict[str, Any] = {"first": asdict(first.rates[name]), "second": asdict(second.rates[name])}
    if paired and name in first.outcomes and name in second.outcomes:
        here, there = (_by_item(stage.outcomes[name]) for stage in (first, second))
        shared = [item for item in here if item in there]
        if shared:
            first_N, second_N = (np.array([of[item] for item in shared]) for of in (here, there))
            difference = paired_difference(first_N, second_N)
            gained = [item[0] for item in shared if there[item] > here[item]]
            lost = [item[0] for item in shared if here[item] > there[item]]
            both["paired"] = asdict(difference) | {
                "verdict": verdict(difference.low, difference.high, name in LOWER_IS_BETTER),
                "p_value": mcnemar(len(gained), len(lost)),
                "flipped": {"gained": gained, "lost": lost},
            }
    return both


def _loss(first: Sequence[PieceBits], second: Sequence[PieceBits], fewest: int = MIN_PIECES) -> dict[str, Any] | None:
    """The losses of two models on the same pieces of text; None where they were measured on different text, or on fewer
    pieces than `fewest`."""
    here, there = ({piece: (after, size) for piece, _, after, size in pieces} for pieces in (first, second))
    shared = [piece for piece in here if piece in there]
    # Pieces have numbers for names, so different text, or text cut differently, is detected by the lengths.
    if len(shared) < fewest or any(here[piece][1] != there[piece][1] for piece in shared):
        return None
    bits = [np.array([of[piece][0] for piece in shared]) for of in (here, there)]
    size = sum(here[piece][1] for piece in shared)
    change, low, high = ratio_of_sums(bits[1], bits[0])
    return {
        "first": float(bits[0].sum() / size),
        "second": float(bits[1].sum() / size),
        "paired": {
            "change": change,
            "low": low,
            "high": high,
            "count": len(shared),
            "verdict": verdict(low, high, lower_is_better=True),
        },
    }


def _by_item(outcomes: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Outcomes by item; a repeated id is another item, numbered."""
    seen: Counter[str] = Counter()
    items = {}
    for name, outcome in outcomes:
        items[name, seen[name]] = outcome
        seen[name] += 1
    return items


def verdict(low: float, high: float, lower_is_better: bool) -> Verdict:
    """The verdict on the second, from the interval of the difference second minus first."""
    if low <= 0 <= high:
        return "no difference shown"
    return "better" if (low > 0) != lower_is_better else "worse"
