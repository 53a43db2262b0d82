"""The larger the model, the lower its best learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tutelage.lab import small_ladder as ladder
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.draws import drawn, drawn_effect
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import RunCache
from tutelage.scaling.parabola import near_lowest
from tutelage.scaling.sweeps import tune_small

ARMS = ladder.sweep_arms()


def exponent(sizes: np.ndarray, log_rates: np.ndarray) -> np.ndarray:
    """The exponent of N in the best rate, of ln rate [sizes] or of its draws [sizes, R]."""
    return np.polyfit(np.log(sizes), log_rates, 1)[0]


def measure(runs: RunCache) -> Conclusion:
    """The best learning rate of each width, and the exponent of N through them."""
    losses: dict[int, list[tuple[int, float, float]]] = {}
    trained: list[Mapping[str, Any]] = []
    sizes: dict[int, float] = {}
    near: dict[int, np.ndarray] = {}
    for arm, row in ladder.train(runs, ARMS):
        losses.setdefault(arm.width, []).append((arm.seed, arm.lr, row["loss"]))
        sizes[arm.width] = row["parameters_matrices"]
        trained.append(row)
    table: list[list[str | Estimate]] = []
    lines, found, by_seed = [], [], []
    for width, rows in losses.items():
        points = np.array(rows)
        near[width] = points[near_lowest(np.log(points[:, 1]), points[:, 2])]
        found.append(best := ladder.minimum(np.log(near[width][:, 1]), near[width][:, 2], seed=width))
        rates = sorted(set(points[:, 1].tolist()))
        at = {rate: points[points[:, 1] == rate, 2] for rate in rates}
        lowest = min(rates, key=lambda rate: float(at[rate].mean()))
        table.append([str(width), f"{sizes[width]:,.0f}", drawn(math.exp(best.place), np.exp(best.draws)),
                      f"{lowest:g}", f"{at[lowest].mean():.3f}", f"{best.rise:.1%}"])  # fmt: skip
        curve = [Estimate(float(x.mean()), float(x.min()), float(x.max()), "number") for x in at.values()]
        lines.append(Line(f"width {width}", rates, curve))
    small = tune_small(trained)
    table.append([f"{max(sizes)}, by the smaller widths ({small.compute:.0%} of the compute of its own sweep)",
                  f"{small.size:,.0f}", Estimate(small.lr.value, small.lr.low, small.lr.high, "number"),
                  f"{small.tried:g}", f"{small.loss:.3f}", "–"])  # fmt: skip
    n = np.array(list(sizes.values()))
    for seed in sorted({seed for rows in losses.values() for seed, _, _ in rows}):
        own = [rows[rows[:, 0] == seed] for rows in near.values()]
        by_seed.append(-float(exponent(n, np.array([ladder.minimum(np.log(p[:, 1]), p[:, 2]).place for p in own]))))
    value = -float(exponent(n, np.array([one.place for one in found])))
    draws = -exponent(n, np.array([one.draws for one in found]))
    primary = [drawn_effect("minus the exponent of N in the best learning rate", value, draws, by_seed, least=0.05)]
    rises = [one.rise for one in found]
    control = drawn_effect("loss at the better end of each sweep above its minimum", min(rises), np.array(rises), rises)
    header = [
        "width",
        "N",
        "best rate, parabola",
        "best rate tried, or nearest",
        "its loss",
        "loss at the better end above it",
    ]
    plot = LinePlot("Loss by learning rate", "learning rate", "nats per character", lines, log_x=True)
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="N27",
    name="rate-and-size",
    claim="The larger the model, the lower its best learning rate.",
    source="Training LLMs (lecture), after Kaplan et al. 2020, arXiv 2001.08361, appendix D.6",
    published="GPT-3: 6e-4 for 125M parameters, 0.6e-4 for 175B. Exponents of N: -0.23 (GPT-3's table), -0.71 at equal "
    "tokens (Step Law).",
    setup=f"{ladder.SETUP}Widths {', '.join(map(str, ladder.SWEPT_WIDTHS))}; {ladder.SWEPT_STEPS} steps of AdamW at "
    f"{len(ladder.SWEPT_LRS)} learning rates from {ladder.SWEPT_LRS[0]:g} to {ladder.SWEPT_LRS[-1]:g}, so that all "
    f"sizes read the same tokens; {len(SEEDS)} seeds. A parabola in the log of the rate, through the rates within a "
    "factor of 4 of the best one tried, gives the best one of a size; intervals from residuals drawn again. The last "
    "row is the other way to tune a large model: the fit through the smaller widths, and one training. An "
    "exponent counts from 0.05 on.",
    folder=ladder.folder(ARMS, 32),
    recipe=ladder.recipe(32, ARMS),
    quick=ladder.quick(ARMS, 32),
    measure=measure,
    minutes=10,
)
