"""Tool use is fine-tuning: a model that may search makes up less."""

from __future__ import annotations

import numpy as np

from tutelage.lab.base_recipe import SEEDS, recipe_toml
from tutelage.lab.effects import above, mean_effect, no_worse
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.findings.probed_refusals import BASE, QUICK, SETUP
from tutelage.lab.run_cache import RunCache

STEPS, MARGIN = 400, 0.05
STAGES = {arm: [f"{arm}_{seed}" for seed in SEEDS] for arm in ("assistant", "longer")}
DATA = {"assistant": "chat = 0.3, tools = 0.7", "longer": "chat = 1"}
LINES = [
    f'{name} = {{ kind = "sft", from = "chat", data = {{ {DATA[arm]} }}, replay = 0.25, steps = {STEPS}, '
    f'batch_tokens = 4096, keep = "last", seed = {seed}, optimizer = {{ kind = "muon" }} }}'
    for arm, names in STAGES.items()
    for seed, name in enumerate(names)
]
SUITES = {"chat": ["knowing"]} | {name: ["knowing"] for names in STAGES.values() for name in names}
RECIPE = recipe_toml(BASE, LINES, SUITES)
METRICS = {
    "unknown.made_up": "names that do not exist: made up",
    "indexed.right": "people in the search alone: right",
    "sums.right": "sums: right",
    "recall": "needed calls that are made",
    "known.right": "people only read of: right",
}


def measure(runs: RunCache) -> Conclusion:
    """What is made up and answered, with tools and after as many steps without."""
    run = runs.run(RECIPE, "knows")
    tools, longer = STAGES.values()

    def outcomes(names: list[str], metric: str) -> list[np.ndarray]:
        return [run.outcomes(name, f"knowing.{metric}").astype(np.float64) for name in names]

    table: list[list[str | Estimate]] = []
    bars = []
    for name, label in METRICS.items():
        without = pooled(outcomes(longer, name)) if name in ("unknown.made_up", "known.right") else ""
        found = pooled(outcomes(tools, f"tools.{name}"))
        table.append([label, without, found])
        bars.append(Bar(label, "with tools", found))
        bars += [Bar(label, "without tools", without)] if isinstance(without, Estimate) else []
    made_up = outcomes(longer, "unknown.made_up"), outcomes(tools, "tools.unknown.made_up")
    right = outcomes(tools, "tools.known.right"), outcomes(longer, "known.right")
    primary = [
        mean_effect("made up, without tools minus with tools", *made_up),
        no_worse(mean_effect("people only read of, right, with tools minus without", *right), MARGIN),
    ]
    control = above(run, "needed calls that are made, above a half", "knowing.tools.recall", tools, 0.5)
    plot = IntervalPlot("Questions with search and calculator", "rate", bars)
    return Conclusion(Table(["questions", "without tools", "with tools"], table), [plot], primary, control)


FINDING = Finding(
    number="10",
    name="tool-calls",
    claim="Tool use is fine-tuning with special tokens: generation pauses, the tool runs, generation resumes; a "
    "model that may search makes up less.",
    source="SFT from scratch (article)",
    published="No figures.",
    setup=f"{SETUP}It is fine-tuned for {STEPS} more steps on conversations, or on conversations of which 70% call a "
    f"search or a calculator ({len(SEEDS)} seeds): equal steps. With tools, the first results of the search are "
    "pages in "
    "another version than those of training, others beside the right one. The people in the search alone occur in no "
    f"text. Of the people only read of at most {100 * MARGIN:g} points of the right answers may be lost.",
    folder="knows",
    recipe=RECIPE,
    quick=(*QUICK, *(f"stages.{name}.steps=1" for names in STAGES.values() for name in names)),
    measure=measure,
    minutes=30,
)
