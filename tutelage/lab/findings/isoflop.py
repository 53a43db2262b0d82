"""Of a training budget, half of the growth goes to parameters and half to tokens, about 20 tokens per parameter."""

from __future__ import annotations

import math

import numpy as np

from tutelage.lab import small_ladder as ladder
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.draws import drawn, drawn_effect, within
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import RunCache

ARMS = ladder.budget_arms()
COUNTS = {"matrices": "weights of matrix products", "no_embedding": "without embeddings"}


def optima(points: dict[float, np.ndarray]) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Of points (seed, N, loss), [P, 3], by budget: ln N of the least loss, [budgets]; its draws, [budgets, R]; and by
    how much the loss at the better end of each budget is above it."""
    found = [ladder.minimum(np.log(rows[:, 1]), rows[:, 2], seed=place) for place, rows in enumerate(points.values())]
    return np.array([one.place for one in found]), np.array([one.draws for one in found]), [one.rise for one in found]


def slope(budgets: np.ndarray, log: np.ndarray) -> np.ndarray:
    """The exponent of the budget, [] of ln N [budgets], or [R] of draws [budgets, R]."""
    return np.polyfit(np.log(budgets), log, 1)[0]


def measure(runs: RunCache) -> Conclusion:
    """The minima of the isoFLOP curves, the exponent through them, and the tokens per parameter."""
    rows = [(arm, row) for arm, row in ladder.train(runs, ARMS)]
    budgets = np.array(ladder.BUDGETS)
    table: list[list[str | Estimate]] = []
    primary, rises = [], [0.0]
    for count, label in COUNTS.items():
        points = {
            budget: np.array([(arm.seed, row[f"parameters_{count}"], row["loss"]) for arm, row in rows
                              if arm.group == budget])
            for budget in ladder.BUDGETS
        }  # fmt: skip
        place, draws, rise = optima(points)
        seeds = sorted({arm.seed for arm, _ in rows})
        alone = [optima({b: one[one[:, 0] == seed] for b, one in points.items()})[0] for seed in seeds]
        ratio, ratios = (np.log10(budgets / 6)[:, None] - 2 * np.atleast_2d(one.T).T / math.log(10)
                         for one in (place, draws))  # fmt: skip
        for number, budget in enumerate(budgets):
            best, tokens = math.exp(place[number]), 10 ** float(ratio[number, 0])
            table.append([f"{budget:.0e} FLOPs, {label}", drawn(best, np.exp(draws[number])), f"{best * tokens:.3g}",
                          drawn(tokens, 10 ** ratios[number])])  # fmt: skip
        exponent = float(slope(budgets, place))
        table.append([f"exponent, {label}", drawn(exponent, slope(budgets, draws)), f"{1 - exponent:.2f}", ""])
        if count == "matrices":
            by_seed = [float(slope(budgets, one)) for one in alone]
            primary.append(within("exponent of N", exponent, slope(budgets, draws), by_seed, 0.35, 0.65))
            tokens_by_seed = [float(10 ** (np.log10(budgets / 6) - 2 * one / math.log(10)).mean()) for one in alone]
            mean = 10 ** ratio.mean(), 10 ** ratios.mean(axis=0)
            primary.append(within("tokens per parameter", float(mean[0]), mean[1], tokens_by_seed, 5, 80))
            rises = rise
    curves = [Line(f"{budget:.0e} FLOPs", *zip(*_means(rows, budget), strict=True)) for budget in ladder.BUDGETS]
    plot = LinePlot("Loss of each budget by size", "N", "nats per character", curves, log_x=True)
    control = drawn_effect("loss at the better end of each curve above its minimum", min(rises), np.array(rises), rises)
    header = ["budget, what N counts", "best N", "tokens", "tokens per parameter"]
    return Conclusion(Table(header, table), [plot], primary, control)


def _means(rows: list, budget: float) -> list[tuple[float, Estimate]]:
    """N and the mean loss over seeds, with the range of the seeds, of each size of a budget."""
    sizes: dict[float, list[float]] = {}
    for arm, row in rows:
        if arm.group == budget:
            sizes.setdefault(row["parameters_matrices"], []).append(row["loss"])
    return [(n, Estimate(float(np.mean(x)), min(x), max(x), "number")) for n, x in sorted(sizes.items())]


FINDING = Finding(
    number="18",
    name="isoflop",
    claim="Of a training budget the best number of parameters grows as its square root: about 20 tokens per parameter.",
    source="LLM pipeline (lecture), after Hoffmann et al. 2022, arXiv 2203.15556",
    published="N grows as C^0.50, tokens as C^0.50; 20 tokens per parameter. Llama 3: 0.53, other tables 0.43 to 0.54.",
    setup=f"{ladder.SETUP}Four budgets 6 N D from {ladder.BUDGETS[0]:.0e} to {ladder.BUDGETS[-1]:.0e} FLOPs with "
    f"{ladder.SIZES_OF_BUDGET} sizes each, {len(SEEDS)} seeds. Muon at {ladder.LR:g}. A "
    "parabola in log N gives the best size of a budget, a power law through these the exponent; intervals from "
    "residuals drawn again. As shown counts an exponent between 0.35 and 0.65, and 5 to 80 tokens per parameter.",
    folder=ladder.folder(ARMS, 32),
    recipe=ladder.recipe(32, ARMS),
    quick=ladder.quick(ARMS, 32),
    measure=measure,
    minutes=12,
)
