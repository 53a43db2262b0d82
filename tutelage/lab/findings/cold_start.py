"""Fine-tuning from random weights fails outside of its examples."""

from __future__ import annotations

from tutelage.lab.base_recipe import BASE_LR, DEMO, DEMO_QUICK, DEMO_SETUP, PLAIN, SEEDS, recipe_toml, seeded, sft_stage
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache

EPOCHS = 16  # 3.4M tokens: as many as the base model and its fine-tuning read
STARTS = {
    "the base model": seeded(PLAIN),
    "random weights, lr 9e-3": seeded("cold", f"lr = {BASE_LR}", EPOCHS, "untrained"),
    "random weights, lr 3e-3": {"cold_low": sft_stage("cold_low", f"lr = {BASE_LR / 3:.3g}", EPOCHS, "untrained")},
}
UNTRAINED = (
    'untrained = { kind = "pretrain", data = { world = 1 }, steps = 1, batch_tokens = 4096, lr = 1e-9, '
    'optimizer = { kind = "muon" } }'
)
STAGES = {name: line for stages in STARTS.values() for name, line in stages.items()}
RECIPE = recipe_toml(DEMO, [UNTRAINED, *STAGES.values()], {name: ["format", "knowledge"] for name in STAGES})
METRICS = {
    "format.compliant": "format, in domain",
    "format.prompts.near": "format, near domain",
    "format.prompts.out_of_domain": "format, out of domain",
    "knowledge.trained": "right, trained people",
}


def measure(runs: RunCache) -> Conclusion:
    """Format on unseen prompts, and answers about the people of the examples, by start."""
    run = runs.run(RECIPE, "demo")
    rows: list[list[str | Estimate]] = []
    bars = []
    for start, stages in STARTS.items():
        rates = [pooled([run.outcomes(stage, name) for stage in stages]) for name in METRICS]
        rows.append([start, str(len(stages)), *rates, *budget(run, list(stages))])
        bars += [Bar(label, start, rate) for label, rate in zip(METRICS.values(), rates, strict=True)]
    plot = IntervalPlot("By start", "rate", sorted(bars, key=lambda bar: bar.label))
    warm, cold, _ = (list(stages) for stages in STARTS.values())
    name = "format.prompts.out_of_domain"
    primary = rate_effect(run, "from the base minus from random weights, format out of domain", name, warm, cold)
    control = above(run, "from random weights, format in domain above a half", "format.compliant", cold, 0.5)
    header = ["start", "seeds", *METRICS.values(), "steps", "trained tokens"]
    return Conclusion(Table(header, rows), [plot], [primary], control)


FINDING = Finding(
    number="30",
    name="cold-start",
    claim="Fine-tuning alone, from random weights, fails out of its few examples; from a pre-trained model it "
    "generalises.",
    source="Training LLMs (lecture)",
    published="No figures.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, lr 3e-3). The same "
    f"conversations train random weights for {EPOCHS} epochs, so that both read equally many tokens in all, at the "
    f"rate that is best for a base model ({len(SEEDS)} seeds), and at a third of it (one seed). Held-out facts are "
    "not the measure: nobody who has not read them knows them.",
    folder="demo",
    recipe=RECIPE,
    quick=(
        *DEMO_QUICK,
        "stages.cold.epochs=1",
        "stages.cold_seed_1.epochs=1",
        "stages.cold_seed_2.epochs=1",
        "stages.cold_low.epochs=1",
    ),
    measure=measure,
    minutes=20,
)
