"""The learning rate of fine-tuning: too high destroys knowledge, too low learns nothing, the best lies between."""

from __future__ import annotations

from tutelage.lab.base_recipe import (
    BASE_LR,
    DEMO,
    DEMO_QUICK,
    DEMO_SETUP,
    GUESS,
    PLAIN,
    SEEDS,
    recipe_toml,
    seeded,
    sft_stage,
)
from tutelage.lab.effects import above, forgetting_effect, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table
from tutelage.lab.run_cache import RunCache

# Ratio to the base's learning rate; those that decide have several seeds. A third of it is the default of SFT.
RATIOS = {"1/300": 1 / 300, "1/30": 1 / 30, "1/10": 1 / 10, "1/3": 1 / 3, "1": 1, "3": 3}
RECOMMENDED, TOO_HIGH, TOO_LOW = "1/3", "3", "1/300"


def _stages(ratio: str) -> dict[str, str]:
    name, change = f"lr_{ratio.replace('/', '_')}", f"lr = {BASE_LR * RATIOS[ratio]:.3g}"
    if ratio == RECOMMENDED:
        return seeded(PLAIN)
    return seeded(name, change) if ratio in (TOO_HIGH, TOO_LOW) else {name: sft_stage(name, change)}


BY_RATIO = {ratio: _stages(ratio) for ratio in RATIOS}
STAGES = {name: line for stages in BY_RATIO.values() for name, line in stages.items()}
RECIPE = recipe_toml(DEMO, STAGES.values(), {name: ["format", "knowledge", "forgetting"] for name in STAGES})


def measure(runs: RunCache) -> Conclusion:
    """Right answers, format and forgetting at each learning rate."""
    run = runs.run(RECIPE, "demo")
    right, form, forgetting = [], [], []
    for stages in BY_RATIO.values():
        right.append(pooled([run.outcomes(stage, "knowledge.held_out") for stage in stages]))
        form.append(pooled([run.outcomes(stage, "format.compliant") for stage in stages]))
        forgetting.append(forgetting_effect(run, "", list(stages)).estimate)
    rates = [BASE_LR * factor for factor in RATIOS.values()]
    rows: list[list[str | Estimate]] = [
        [f"{ratio} ({rate:.2g})", str(len(BY_RATIO[ratio])), *figures]
        for ratio, rate, *figures in zip(RATIOS, rates, right, form, forgetting, strict=True)
    ]
    scores = [Line("right, held-out people", rates, right), Line("format", rates, form)]
    plots = [
        LinePlot("Right answers and format", "learning rate", "rate", scores, log_x=True),
        LinePlot("Forgetting", "learning rate", "increase of the base-text loss", [Line("", rates, forgetting)], True),
    ]
    best, high, low = (list(BY_RATIO[ratio]) for ratio in (RECOMMENDED, TOO_HIGH, TOO_LOW))
    primary = [
        rate_effect(run, f"{RECOMMENDED} minus {TOO_HIGH}, held-out people", "knowledge.held_out", best, high),
        rate_effect(run, f"{RECOMMENDED} minus {TOO_LOW}, held-out people", "knowledge.held_out", best, low),
    ]
    control = above(run, f"{RECOMMENDED}, held-out people, above guessing", "knowledge.held_out", best, GUESS)
    header = ["ratio to the base's lr", "seeds", "right, held-out people", "format", "forgetting"]
    return Conclusion(Table(header, rows), plots, primary, control)


FINDING = Finding(
    number="2",
    name="learning-rate",
    claim="Fine-tuning works best at a half to a tenth of the base's learning rate: a higher one destroys the base's "
    "knowledge, a lower one learns nothing.",
    source="SFT from scratch (article)",
    published="Pre-trained at 3e-4, fine-tuned at 1e-4; start at a third, halve it if the loss jumps, double it if the "
    "loss stays flat.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, no replay) at six "
    "learning rates, from 3 times to 1/300 of the base's, with the base's optimizer, Muon: with another one the ratio "
    f"would say nothing. A third and both ends have {len(SEEDS)} seeds. Right "
    "answers are to single-hop questions about the other half of the people, format is on unseen prompts about "
    "people. Forgetting is the relative increase of the loss on held-out pre-training text.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=20,
)
