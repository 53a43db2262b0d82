"""The least loss falls as a power of the compute, so that small budgets predict a larger one."""

from __future__ import annotations

import numpy as np

from tutelage.lab import small_ladder as ladder
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.draws import drawn, drawn_effect, over_seeds
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import RunCache
from tutelage.scaling.laws import KAPLAN

ARMS = ladder.budget_arms()
CLOSE = 0.03  # of the loss


def fitted(log_budgets: np.ndarray, log_losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exponent of a power law through all budgets but the last, and by what share it is wrong about the last;
    losses are [budgets], or [budgets, R] of draws."""
    gamma, height = np.polyfit(log_budgets[:-1], log_losses[:-1], 1)
    return -gamma, np.abs(np.exp(height + gamma * log_budgets[-1] - log_losses[-1]) - 1)


def measure(runs: RunCache) -> Conclusion:
    """The least loss of each budget, and what a power law through the smaller budgets says of the largest."""
    losses: dict[float, dict[int, list[float]]] = {budget: {} for budget in ladder.BUDGETS}
    for arm, row in ladder.train(runs, ARMS):
        losses[arm.group].setdefault(arm.width, []).append(row["loss"])
    seeds = np.array([min(sizes.values(), key=np.mean) for sizes in losses.values()])  # [budgets, seeds]
    log_budgets, logs = np.log(ladder.BUDGETS), np.log(seeds.mean(axis=1))
    draws = np.log(over_seeds(seeds))
    (gamma, wrong), (gammas, wrongs) = fitted(log_budgets, logs), fitted(log_budgets, draws)
    by_seed = [fitted(log_budgets, np.log(one)) for one in seeds.T]
    primary = [
        drawn_effect("exponent of the compute", float(gamma), gammas, [float(one) for one, _ in by_seed], 0.01),
        drawn_effect(f"{CLOSE:.0%} minus the error at the largest budget", CLOSE - float(wrong), CLOSE - wrongs,
                     [CLOSE - float(one) for _, one in by_seed]),
    ]  # fmt: skip
    fall = 1 - seeds[-1] / seeds[0]
    control = drawn_effect("loss, largest budget below the smallest, share", float(fall.mean()),
                           1 - np.exp(draws[-1] - draws[0]), fall.tolist(), kind="relative_change")  # fmt: skip
    table: list[list[str | Estimate]] = [
        [f"{budget:.0e}", str(min(losses[budget], key=lambda width: np.mean(losses[budget][width]))),
         drawn(float(np.exp(logs[number])), np.exp(draws[number]))]
        for number, budget in enumerate(ladder.BUDGETS)
    ]  # fmt: skip
    table += [["exponent, all but the largest", "", drawn(float(gamma), gammas)],
              ["exponent, published", "", f"{KAPLAN['compute'].exponent}"],
              ["error at the largest budget", "", drawn(float(wrong), wrongs)]]  # fmt: skip
    line = Line("", list(ladder.BUDGETS), [row[2] for row in table[: len(ladder.BUDGETS)]])  # type: ignore[misc]
    plot = LinePlot("Least loss of a budget", "FLOPs", "nats per character", [line], log_x=True)
    return Conclusion(Table(["budget", "best width", "loss"], table), [plot], primary, control)


FINDING = Finding(
    number="N26",
    name="loss-and-compute",
    claim="The least loss that a budget reaches falls as a power of it, so that small trainings predict a larger one.",
    source="LLM pipeline (lecture), after Kaplan et al. 2020, arXiv 2001.08361",
    published="Loss falls as C^-0.050, N^-0.076 and D^-0.095, over seven decades of compute.",
    setup=f"{ladder.SETUP}The trainings are those of finding 18: {len(ladder.BUDGETS)} budgets of "
    f"{ladder.SIZES_OF_BUDGET} sizes, {len(SEEDS)} seeds. A power law through the least losses of all budgets but the "
    f"largest, which is {ladder.BUDGETS[-1] / ladder.BUDGETS[-2]:.0f} times the next, must be wrong about that by less "
    f"than {CLOSE:.0%}. The floor of the loss is not fitted: so few points do not determine it. Intervals from the "
    "seeds.",
    folder=ladder.folder(ARMS, 32),
    recipe=ladder.recipe(32, ARMS),
    quick=ladder.quick(ARMS, 32),
    measure=measure,
    minutes=12,
)
