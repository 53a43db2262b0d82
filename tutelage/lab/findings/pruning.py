"""The hardest rows of clean data teach more than as many at random."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import ask_questions, budget, model_of, person_questions, reply_losses, some
from tutelage.lab.polluted_pool import PooledRow, clean, iterate, pool
from tutelage.lab.run_cache import Rows, RunCache

SIZE, KEPT, STEPS = 5000, 500, 40
ARMS = {
    "all": "all of the pool",
    "random": f"{KEPT / SIZE:.0%} at random",
    "hardest": f"hardest {KEPT / SIZE:.0%}",
    "clean_random": "as many clean rows, at random",
    "clean_hardest": "as many clean rows, the hardest",
}
STAGES_OF = {arm: seeded(f"pool_{arm}", data=f"pool_{arm}_rows", steps=STEPS) for arm in ARMS}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
NAMES = [f"pool_{arm}_rows" for arm in ARMS]
RECIPE = recipe_toml(DEMO + rows_data(*NAMES), STAGES.values(), {})
SCORER = recipe_toml(DEMO + rows_data("pool_random_rows"), [STAGES_OF["random"]["pool_random"]], {})


def hardest(rows: list[PooledRow], losses: np.ndarray, count: int) -> list[PooledRow]:
    """The rows with the highest losses, in their order."""
    places = sorted(np.argsort(-losses, kind="stable")[:count].tolist())
    return [rows[place] for place in places]


def measure(runs: RunCache) -> Conclusion:
    """Right answers about held-out people, by which rows of the pool are trained on. A model that was trained on random
    rows scores all of them."""
    rows = list(pool(100 if runs.overrides else SIZE))
    count = len(rows) * KEPT // SIZE
    random_rows: dict[str, Rows] = {"pool_random_rows": partial(iterate, rows[:count])}
    scorer = model_of(runs.run(SCORER, "demo", random_rows), "pool_random")
    losses = reply_losses(scorer, [(row.prompt, row.completion) for row in rows])
    kept = clean(rows)
    of_row = {id(row): loss for row, loss in zip(rows, losses, strict=True)}
    chosen = {
        "all": rows,
        "random": rows[:count],
        "hardest": hardest(rows, losses, count),
        "clean_random": kept[:count],
        "clean_hardest": hardest(kept, np.array([of_row[id(row)] for row in kept]), count),
    }
    run = runs.run(RECIPE, "demo", {f"pool_{arm}_rows": partial(iterate, chosen[arm]) for arm in ARMS})
    questions = some(runs, person_questions())
    right = {arm: [ask_questions(model_of(run, stage), questions).right for stage in stages]
             for arm, stages in STAGES_OF.items()}  # fmt: skip
    table: list[list[str | Estimate]] = []
    for arm, label in ARMS.items():
        kinds = Counter(row.kind for row in chosen[arm])
        shares = f"{kinds['good'] / len(chosen[arm]):.0%}, {kinds['wrong'] / len(chosen[arm]):.0%}"
        table.append([label, mean_estimate(right[arm]), shares, *budget(run, list(STAGES_OF[arm]))])
    primary = mean_effect("hardest of clean minus random of all", right["clean_hardest"], right["random"])
    guess = [np.full(len(questions), GUESS)] * len(SEEDS)
    control = mean_effect("random of clean above guessing", right["clean_random"], guess)
    plot = IntervalPlot("Questions about held-out people", "right",
                        [Bar(label, "", mean_estimate(right[arm])) for arm, label in ARMS.items()])  # fmt: skip
    header = ["rows", "right, held-out people", "good, wrong rows", "steps", "trained tokens"]
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="14",
    name="pruning",
    claim="Filter hard: the hardest tenth of clean rows teaches more than a random tenth of all rows.",
    source="SFT from scratch (article)",
    published="50 to 95% of the rows pruned; the hardest 5% of 100,000 rows kept.",
    setup=f"{DEMO_SETUP}The pool has {SIZE:,} rows about half of the people: a fifth is good, a fifth false, a fifth "
    f"copies of {20} rows with small edits, and two fifths are greetings. It is fine-tuned for {STEPS} steps of "
    f"2,048 tokens (lr 3e-3, {len(SEEDS)} seeds) on all of them, or on {KEPT} rows: random ones; the hardest, by the "
    "loss of a model that was trained on random ones; and random and hardest ones of the rows that are true and no "
    "copies. The filter knows each row's kind: a real one errs.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=1" for name in STAGES)),
    measure=measure,
    minutes=8,
)
