"""More filtered data keeps helping, more unfiltered data does not."""

from __future__ import annotations

from functools import partial

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.measures import ask_questions, budget, model_of, person_questions, some
from tutelage.lab.polluted_pool import clean, iterate, pool
from tutelage.lab.run_cache import Rows, RunCache

SIZES = (50, 200, 800)
STEPS = 40
POOL = 6000  # of which 800 and more are left after filtering
ARMS = ("filtered", "unfiltered")
STAGES_OF = {(arm, n): seeded(f"{arm}_{n}", data=f"{arm}_{n}_rows", steps=STEPS) for arm in ARMS for n in SIZES}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
RECIPE = recipe_toml(DEMO + rows_data(*(f"{arm}_{n}_rows" for arm, n in STAGES_OF)), STAGES.values(), {})


def files() -> dict[str, Rows]:
    """Nested rows of the pool, and of what filtering leaves of it."""
    rows = {"filtered": clean(pool(POOL)), "unfiltered": list(pool(POOL))}
    assert len(rows["filtered"]) >= SIZES[-1]
    return {f"{arm}_{n}_rows": partial(iterate, rows[arm][:n]) for arm, n in STAGES_OF}


def measure(runs: RunCache) -> Conclusion:
    """Right answers about held-out people, by the number of rows, with and without the filter."""
    run = runs.run(RECIPE, "demo", files())
    questions = some(runs, person_questions())
    right = {key: [ask_questions(model_of(run, stage), questions).right for stage in stages]
             for key, stages in STAGES_OF.items()}  # fmt: skip
    gains = {
        arm: [more - less for more, less in zip(right[arm, SIZES[-1]], right[arm, SIZES[-2]], strict=True)]
        for arm in ARMS
    }
    table: list[list[str | Estimate]] = [
        [f"{n:,}, {arm}", mean_estimate(right[arm, n]), *budget(run, list(STAGES_OF[arm, n]))]
        for n in SIZES
        for arm in ARMS
    ]
    primary = mean_effect(f"gain from {SIZES[-2]} to {SIZES[-1]} rows, filtered minus unfiltered", *gains.values())
    control = mean_effect(f"filtered, {SIZES[-1]} rows minus {SIZES[0]}", right["filtered", SIZES[-1]],
                          right["filtered", SIZES[0]])  # fmt: skip
    lines = [Line(arm, [float(n) for n in SIZES], [mean_estimate(right[arm, n]) for n in SIZES]) for arm in ARMS]
    plot = LinePlot("Questions about held-out people", "rows", "right", lines, log_x=True)
    header = ["rows", "right, held-out people", "steps", "trained tokens"]
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N9",
    name="filtered-data",
    claim="With more rows filtered data keeps gaining, and unfiltered data flattens.",
    source="SFT from scratch (article)",
    published="A figure without numbers.",
    setup=f"{DEMO_SETUP}It is fine-tuned ({STEPS} steps of 2,048 tokens, lr 3e-3, {len(SEEDS)} seeds) on {SIZES[0]}, "
    f"{SIZES[1]} or {SIZES[2]} rows about half of the people: raw ones, of which a fifth is good, a fifth false, a "
    "fifth nearly copied and two fifths greetings; or rows that are true and no copies. Equal rows, equal steps.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=1" for name in STAGES)),
    measure=measure,
    minutes=8,
)
