"""The longest answers of a pool are a strong choice of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache
from tutelage.lab.world_rows import sized_rows
from tutelage.world.keyed_random import KeyedRandom

POOL, CHOSEN, STEPS, FACTS = 3000, 200, 60, (0, 1, 2, 4)
Row = Mapping[str, object]


@cache
def pool() -> tuple[Row, ...]:
    """Questions about trained people, answered with the value alone or with one, two or four facts."""
    parts = [tuple(sized_rows(facts, POOL // len(FACTS))()) for facts in FACTS]
    return tuple(KeyedRandom("lab pool").shuffled([row for part in parts for row in part]))


def words(row: Row) -> int:
    """The words of the answer of a row."""
    return len(str(row["completion"]).split())


def chosen(how: str) -> list[Row]:
    """The rows that a rule chooses of the pool."""
    rows = list(pool())
    if how == "longest":
        return sorted(rows, key=lambda row: -words(row))[:CHOSEN]
    if how == "mixed":  # as many of each length
        by_length = sorted(rows, key=words)
        return by_length[:: len(by_length) // CHOSEN][:CHOSEN]
    if how == "random":
        return rows[:CHOSEN]
    assert how == "random_more"  # as many words as the longest have
    most, found = sum(map(words, chosen("longest"))), list[Row]()
    for row in rows:
        if most <= 0:
            break
        found.append(row)
        most -= words(row)
    return found


LABELS = {
    "longest": f"the {CHOSEN} longest",
    "random": f"{CHOSEN} at random",
    "random_more": "at random, as many words as the longest",
    "mixed": f"{CHOSEN}, as many of each length",
}
STAGES_OF = {how: seeded(f"chosen_{how}", data=f"{how}_rows", steps=STEPS) for how in LABELS}
STAGES = {name: line for stages in STAGES_OF.values() for name, line in stages.items()}
DATA = rows_data(*(f"{how}_rows" for how in LABELS))
RECIPE = recipe_toml(DEMO + DATA, STAGES.values(), {name: ["format", "knowledge"] for name in STAGES})
RIGHT = "knowledge.held_out"


def _rows(how: str) -> Callable[[], Iterator[Row]]:
    return lambda: iter(chosen(how))


def measure(runs: RunCache) -> Conclusion:
    """Right answers about held-out people by the rule that chose the rows."""
    run = runs.run(RECIPE, "demo", {f"{how}_rows": _rows(how) for how in LABELS})
    table: list[list[str | Estimate]] = []
    bars = []
    for how, label in LABELS.items():
        stages, rows = list(STAGES_OF[how]), chosen(how)
        right, form = (pooled([run.outcomes(stage, name) for stage in stages]) for name in (RIGHT, "format.compliant"))
        mean = sum(map(words, rows)) / len(rows)
        table.append([label, right, form, f"{len(rows)}", f"{mean:.1f}", *budget(run, stages)])
        bars.append(Bar(label, "", right))
    longest, others = list(STAGES_OF["longest"]), ("random", "random_more")
    primary = [rate_effect(run, f"longest minus {LABELS[how]}", RIGHT, longest, list(STAGES_OF[how])) for how in others]
    control = above(run, "longest, held-out people, above guessing", RIGHT, longest, GUESS)
    plot = IntervalPlot("Questions about held-out people", "right", bars)
    header = ["rows", "right", "format, in domain", "rows chosen", "words an answer", "steps", "trained tokens"]
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="19",
    name="longest-answers",
    claim="The longest answers of a pool are a strong choice of rows to fine-tune on.",
    source="Training LLMs (lecture), after Zhao et al. 2024, arXiv 2402.04833",
    published="The 1,000 longest of 52,000 rows beat 1,000 rows chosen by hand, 46.3 to 28.3% by a judge.",
    setup=f"{DEMO_SETUP}A pool has {POOL:,} questions about half of the people, answered with the value alone or "
    f"with one, two or four facts, all of them true. Of it {CHOSEN} rows are chosen, and fine-tuned on for {STEPS} "
    "steps (lr "
    f"3e-3, {len(SEEDS)} seeds): equal steps, and equal trained tokens up to the length of the prompts. The longest "
    "must "
    "beat as many random rows, and random rows of as many words. Judges like length, so that answers are scored by "
    "truth. Deita's choice, by complexity and quality, needs a judge and is not shown.",
    folder="demo",
    recipe=RECIPE,
    quick=(*DEMO_QUICK, *(f"stages.{name}.steps=2" for name in STAGES)),
    measure=measure,
    minutes=15,
)
