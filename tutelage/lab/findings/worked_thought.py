"""Fine-tuning on worked thought beats fine-tuning on answers alone."""

from __future__ import annotations

from tutelage.lab.base_recipe import SEEDS, recipe_toml, rows_data, seeded
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache
from tutelage.lab.sums import BASE, BASE_SETUP, QUICK, rows, unseen

ROWS, EPOCHS = 3000, 4
STYLES = {"answer": "answers", "steps": "steps", "steps shuffled": "shuffled"}
DATA = rows_data("answers", "shuffled")
ARMS = {
    "worked out": seeded("worked", "lr = 3e-3", EPOCHS, data="steps"),
    "worked out, steps shuffled": seeded("disordered", "lr = 3e-3", EPOCHS, data="shuffled"),
    "answer alone, equal epochs": seeded("plain", "lr = 3e-3", EPOCHS, data="answers"),
    "answer alone, equal tokens": seeded("plain_long", "lr = 3e-3", 5 * EPOCHS, data="answers"),
}
STAGES = {name: line for stages in ARMS.values() for name, line in stages.items()}
RECIPE = recipe_toml(BASE + DATA, STAGES.values(), {name: ["questions"] for name in STAGES})
FILES = {name: rows(style, ROWS) for style, name in STYLES.items()} | {"asked": unseen(ROWS)}  # type: ignore[arg-type]
RIGHT = "questions.right"


def measure(runs: RunCache) -> Conclusion:
    """Unseen sums that are answered right, by what the rows hold."""
    run = runs.run(RECIPE, "sums", FILES)
    table: list[list[str | Estimate]] = []
    bars = []
    for label, stages in ARMS.items():
        right = pooled([run.outcomes(stage, RIGHT) for stage in stages])
        table.append([label, right, *budget(run, list(stages))])
        bars.append(Bar(label, "", right))
    worked, _, short, long = (list(stages) for stages in ARMS.values())
    primary = [
        rate_effect(run, "worked out minus answer alone, equal epochs", RIGHT, worked, short),
        rate_effect(run, "worked out minus answer alone, equal tokens", RIGHT, worked, long),
    ]
    control = above(run, "worked out, right above 1%", RIGHT, worked, 0.01)
    plot = IntervalPlot("Unseen sums", "right", bars)
    return Conclusion(Table(["rows hold", "right", "steps", "trained tokens"], table), [plot], primary, control)


FINDING = Finding(
    number="21",
    name="worked-thought",
    claim="Fine-tuning on worked thought beats fine-tuning on answers alone.",
    source="Dataset and SFT (lecture)",
    published="23 x 47 = 1081: models that write the steps are right more often.",
    setup=f"{BASE_SETUP}Every arm has the same {ROWS:,} sums: the answer alone, for as many epochs ({EPOCHS}) and "
    "for five times as many, about as many tokens; the sums of hundreds, tens and ones first; or these in a random "
    f"order, which are the same tokens without the thought. {len(SEEDS)} seeds each, Muon, lr 3e-3. Unseen sums: "
    "300, of other pairs, whichever number comes first.",
    folder="sums",
    recipe=RECIPE,
    quick=(*QUICK, *(f"stages.{name}.epochs=1" for name in STAGES)),
    measure=measure,
    minutes=15,
)
