"""Chains of thought of one style teach more than chains of many styles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tutelage.lab.base_recipe import SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache
from tutelage.lab.sums import BASE, BASE_SETUP, QUICK, UNSEEN, Row, answer, pairs, question, rows, unseen
from tutelage.world.keyed_random import KeyedRandom

ROWS, EPOCHS = 3000, 2  # after four epochs one style has nearly all sums right: no room for a difference
ARMS = {
    "one style": seeded("half_learned", "lr = 3e-3", EPOCHS, data="steps"),
    "five styles": seeded("five_styles", "lr = 3e-3", EPOCHS, data="mixed"),
}
STAGES = {name: line for stages in ARMS.values() for name, line in stages.items()}
RECIPE = recipe_toml(BASE + rows_data("mixed"), STAGES.values(), {name: ["questions"] for name in STAGES})
RIGHT = "questions.right"


def styled(left: int, right: int, style: int) -> str:
    """The sum worked out in one of five ways, all of them right and about equally long; 0 is that of `answer`."""
    total = left + right
    digits = [(left // unit % 10 * unit, right // unit % 10 * unit) for unit in (100, 10, 1)]
    parts = [f"{first} + {second} = {first + second}" for first, second in digits]
    hundreds, tens, ones = map(sum, digits)
    last = [f"{hundreds} + {tens} = {hundreds + tens}", f"{hundreds + tens} + {ones} = {total}"]
    upwards = [f"{ones} + {tens} = {ones + tens}", f"{ones + tens} + {hundreds} = {total}"]
    return (
        answer(left, right, "steps"),
        f"{', '.join([*parts[::-1], *upwards])}: {total}",
        f"{'. '.join([parts[1], parts[0], parts[2], *last])}. It is {total}",
        f"First {parts[0]}, then {parts[1]}, then {parts[2]}, so {' and '.join(last)}: {total}",
        ", ".join([*parts, *last]).replace("=", "is") + f", and so {total}",
    )[style]


def mixed(count: int) -> Callable[[], Iterator[Row]]:
    """The rows of `rows("steps", count)`, each in a style drawn at random."""

    def make() -> Iterator[Row]:
        for left, right in pairs(count, seed=0)[UNSEEN:]:
            style = KeyedRandom("style", left, right).randbelow(5)
            yield {"prompt": question(left, right), "completion": styled(left, right, style)}

    return make


def measure(runs: RunCache) -> Conclusion:
    """Unseen sums that are answered right, by the styles of the chains."""
    files = {"steps": rows("steps", ROWS), "mixed": mixed(ROWS), "asked": unseen(ROWS)}
    run = runs.run(RECIPE, "sums_half", files)
    table: list[list[str | Estimate]] = []
    bars = []
    for label, stages in ARMS.items():
        right = pooled([run.outcomes(stage, RIGHT) for stage in stages])
        table.append([label, right, *budget(run, list(stages))])
        bars.append(Bar(label, "", right))
    one, five = (list(stages) for stages in ARMS.values())
    primary = rate_effect(run, "one style minus five styles", RIGHT, one, five)
    control = above(run, "one style, right above 1%", RIGHT, one, 0.01)
    plot = IntervalPlot("Unseen sums", "right", bars)
    return Conclusion(Table(["chains", "right", "steps", "trained tokens"], table), [plot], [primary], control)


FINDING = Finding(
    number="N25",
    name="one-style",
    claim="Chains of thought of one style, as a machine writes them, teach more than the many styles of people.",
    source="SFT from scratch (article), on DeepSeek-R1",
    published="No figures: chains that a model made teach better than those that people wrote.",
    setup=f"{BASE_SETUP}Both arms have the same {ROWS:,} sums, all worked out right: in one way, or each in one of "
    f"five ways that are about equally long ({EPOCHS} epochs, Muon, lr 3e-3, {len(SEEDS)} seeds). Unseen sums: 300, of "
    "other pairs. This shows uniformity, which is a part of the claim; what people write cannot be shown here.",
    folder="sums_half",
    recipe=RECIPE,
    quick=(*QUICK, *(f"stages.{name}.epochs=1" for name in STAGES)),
    measure=measure,
    minutes=10,
)
