"""Training past 20 tokens per parameter still pays, because the smaller model is cheaper to run."""

from __future__ import annotations

import numpy as np

from tutelage.lab import small_ladder as ladder
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.draws import drawn_effect, over_seeds
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import RunCache
from tutelage.lab.verdict import LEAST_SHARE

ARMS = ladder.budget_arms()


def measure(runs: RunCache) -> Conclusion:
    """The best model of each budget, and a smaller one at the next budget: loss, and from how many tokens
    on the latter is cheaper in all."""
    losses: dict[tuple[float, int], list[float]] = {}
    sizes: dict[int, float] = {}
    for arm, row in ladder.train(runs, ARMS):
        losses.setdefault((arm.group, arm.width), []).append(row["loss"])
        sizes[arm.width] = row["parameters_matrices"]
    table: list[list[str | Estimate]] = []
    gains: list[list[float]] = []
    for budget, more in zip(ladder.BUDGETS, ladder.BUDGETS[1:], strict=False):
        best = min((width for at, width in losses if at == budget), key=lambda w: np.mean(losses[budget, w]))
        smaller = [width for at, width in losses if at == more and width < best]
        if not smaller:
            continue
        small = max(smaller)
        ours, theirs = np.array(losses[more, small]), np.array(losses[budget, best])
        gains.append((1 - ours / theirs).tolist())
        even = (more - budget) / (2 * (sizes[best] - sizes[small]))
        ratios = [at / 6 / sizes[width] ** 2 for at, width in ((budget, best), (more, small))]
        table.append([f"{budget:.0e}", f"{best}, {ratios[0]:.0f}", f"{theirs.mean():.3f}",
                      f"{more:.0e}", f"{small}, {ratios[1]:.0f}", f"{ours.mean():.3f}", f"{even:.1e}"])  # fmt: skip
    shares = np.array(gains or [[0.0]])  # [pairs, seeds]
    by_seed = shares.mean(axis=0)
    value, draws = float(by_seed.mean()), over_seeds(by_seed)
    primary = drawn_effect("loss, smaller and longer trained below the best of the budget before, share", value, draws,
                           by_seed.tolist(), LEAST_SHARE, "relative_change")  # fmt: skip
    ends = [losses[ladder.BUDGETS[0], width] for at, width in losses if at == ladder.BUDGETS[0]]
    spread = [float(max(one) / min(one) - 1) for one in zip(*ends, strict=True)]
    control = drawn_effect("loss of the worst size of the smallest budget above its best", float(np.mean(spread)),
                           np.array(spread), spread, kind="relative_change")  # fmt: skip
    curves = [
        Line(f"width {width}", [at for at, own in losses if own == width],
             [Estimate(float(np.mean(x)), min(x), max(x), "number") for (_, own), x in losses.items() if own == width])
        for width in sorted(sizes)
    ]  # fmt: skip
    plot = LinePlot("Loss of each width by budget", "FLOPs", "nats per character", curves, log_x=True)
    header = ["budget", "best width, tokens per parameter", "loss", "larger budget",
              "smaller width, tokens per parameter", "its loss", "cheaper from so many tokens on"]  # fmt: skip
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N24",
    name="inference-cost",
    claim="Training past 20 tokens per parameter still pays: the smaller model reaches the same loss and is cheaper "
    "to run.",
    source="LLM pipeline (lecture)",
    published="Llama 3 8B: 15T tokens, 1,875 per parameter; more than 150 per parameter is usual.",
    setup=f"{ladder.SETUP}The trainings are those of finding 18 ({len(SEEDS)} seeds). The best model of a budget is "
    "compared with the next smaller one of the next budget, which has read more tokens per parameter. A token costs "
    "2 N FLOPs to run, so the smaller model is cheaper in all from so many tokens on as its training cost more, "
    "divided by what it saves a token. Intervals from the seeds.",
    folder=ladder.folder(ARMS, 32),
    recipe=ladder.recipe(32, ARMS),
    quick=ladder.quick(ARMS, 32),
    measure=measure,
    minutes=12,
)
