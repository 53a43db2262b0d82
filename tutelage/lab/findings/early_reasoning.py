"""Reasoning in pre-training is worth more than twice as much of it in fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from tutelage.lab.base_recipe import SEEDS, recipe_toml, rows_data, sft_stage
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache
from tutelage.lab.sums import UNSEEN, Row, answer, pairs, question, rows, unseen

# Few epochs: after some 400 steps on worked sums nearly all are right, and there is no room for a difference.
ROWS, EARLY, SHARE, EPOCHS, STEPS = 1000, 2000, 0.1, 2, 300
DATA = f"""\
name      = "lab"
model     = {{ depth = 3, width = 128, context = 128 }}
tokenizer = {{ kind = "char", data = ["prose", "once"] }}

[data]
prose  = {{ kind = "world", people = 40, versions = 6, unknown = 0.0, arithmetic = 0.0 }}
worked = {{ kind = "documents", path = "ROWS/worked.jsonl" }}

{rows_data("once", "twice", "asked")}"""
BASES = {"early": f"prose = {1 - SHARE}, worked = {SHARE}", "late": "prose = 1"}
BASE_LINES = {
    f"{base}_{seed}": f'{base}_{seed} = {{ kind = "pretrain", data = {{ {data} }}, steps = {STEPS}, '
    f'batch_tokens = 4096, lr = 3e-3, seed = {seed}, optimizer = {{ kind = "muon" }} }}'
    for base, data in BASES.items()
    for seed in SEEDS
}
ARMS = {
    "early, n rows": ("early", "once"),
    "late, n rows": ("late", "once"),
    "late, 2 n rows": ("late", "twice"),
}
STAGES = {arm: [f"{base}_{data}_{seed}" for seed in SEEDS] for arm, (base, data) in ARMS.items()}
TUNED = [
    sft_stage(STAGES[arm][seed], f"lr = 3e-3, seed = {seed}", EPOCHS, f"{base}_{seed}", data)
    for arm, (base, data) in ARMS.items()
    for seed in SEEDS
]
RECIPE = recipe_toml(
    DATA, [*BASE_LINES.values(), *TUNED], {name: ["questions"] for names in STAGES.values() for name in names}
)
RIGHT = "questions.right"


def once() -> Iterator[Row]:
    """The first half of the rows of the larger arm."""
    return islice(rows("steps", 2 * ROWS)(), ROWS)


def worked() -> Iterator[Mapping[str, object]]:
    """Sums that no row and no question has, worked out as text."""
    known = set(pairs(2 * ROWS, seed=0))
    for left, right in pairs(EARLY, seed=2)[UNSEEN:]:
        if (left, right) not in known:
            yield {"text": f"{question(left, right)} {answer(left, right, 'steps')}"}


def measure(runs: RunCache) -> Conclusion:
    """Unseen sums that are answered right, by when the model read worked sums."""
    files = {"once": once, "twice": rows("steps", 2 * ROWS), "asked": unseen(2 * ROWS), "worked": worked}
    run = runs.run(RECIPE, "early", files)
    table: list[list[str | Estimate]] = []
    bars = []
    for label, stages in STAGES.items():
        right = pooled([run.outcomes(stage, RIGHT) for stage in stages])
        table.append([label, right, *budget(run, list(stages))])
        bars.append(Bar(label, "", right))
    early, _, twice = STAGES.values()
    primary = rate_effect(run, "early with n rows minus late with 2 n", RIGHT, early, twice)
    control = above(run, "early, right above 1%", RIGHT, early, 0.01)
    header = ["worked sums", "right", "steps of fine-tuning", "trained tokens"]
    return Conclusion(Table(header, table), [IntervalPlot("Unseen sums", "right", bars)], [primary], control)


FINDING = Finding(
    number="23",
    name="early-reasoning",
    claim="Reasoning in pre-training is worth more than twice as many reasoning rows in fine-tuning.",
    source="Revisiting SFT (post), after arXiv 2510.03264",
    published="8B parameters, 1T tokens: +19% from reasoning data in pre-training; doubling the SFT data does not "
    "catch up.",
    setup=f"Character models (3 layers, width 128, 0.6M parameters) are pre-trained for {STEPS} steps of 4,096 "
    f"tokens on prose, or on prose with {SHARE:.0%} of worked sums: equal tokens. Both are fine-tuned on {ROWS:,} "
    f"other worked sums, the one without also on {2 * ROWS:,} ({EPOCHS} epochs each, Muon, lr 3e-3, {len(SEEDS)} "
    "seeds of base and fine-tuning). Unseen sums: 300, which neither base nor rows have.",
    folder="early",
    recipe=RECIPE,
    quick=(
        "model.depth=1", "model.width=32",
        *(f"stages.{name}.steps=2" for name in BASE_LINES),
        *(f"stages.{name}.epochs=1" for names in STAGES.values() for name in names),
    ),
    measure=measure,
    minutes=15,
)  # fmt: skip
