"""Fine-tuning causes forgetting; replay, LoRA and lower learning rates mitigate it."""

from __future__ import annotations

from tutelage.lab.base_recipe import BASE_LR, DEMO, DEMO_QUICK, DEMO_SETUP, PLAIN, SEEDS, recipe_toml, seeded, sft_stage
from tutelage.lab.effects import forgetting_effect, loss_effect, no_worse, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache

RIGHT, KEPT = "knowledge.held_out", 0.05  # right answers that a mitigation may cost
CLAIMED = {
    "replay 0.5": seeded("replay_50", "replay = 0.5"),
    "lr / 3": seeded("low_lr", f"lr = {BASE_LR / 9:.3g}"),
    "LoRA, rank 16": seeded("lora", "lora = { rank = 16 }, lr = 1e-2", optimizer="adamw"),
}
MEASURED = {
    "none": seeded(PLAIN),
    **CLAIMED,
    "replay 0.1": {"replay_10": sft_stage("replay_10", "replay = 0.1")},
    "1 epoch instead of 3": {"one_epoch": sft_stage("one_epoch", epochs=1)},
}
STAGES = {name: line for stages in MEASURED.values() for name, line in stages.items()}
RECIPE = recipe_toml(DEMO, STAGES.values(), {name: ["format", "knowledge", "forgetting"] for name in STAGES})


def measure(runs: RunCache) -> Conclusion:
    """Forgetting, right answers and format without and with each mitigation."""
    run = runs.run(RECIPE, "demo")
    rows: list[list[str | Estimate]] = []
    forgetting_bars, answer_bars = [], []
    for label, stages in MEASURED.items():
        forgetting = forgetting_effect(run, label, list(stages)).estimate
        right, form = (pooled([run.outcomes(stage, name) for stage in stages]) for name in (RIGHT, "format.compliant"))
        rows.append([label, str(len(stages)), forgetting, right, form, *budget(run, list(stages))])
        forgetting_bars.append(Bar(label, "", forgetting))
        answer_bars.append(Bar(label, "", right))
    plots = [
        IntervalPlot("Forgetting", "increase of the base-text loss", forgetting_bars),
        IntervalPlot("Cost of the mitigation: questions about held-out people", "right", answer_bars),
    ]
    none = list(MEASURED["none"])
    # Whoever learns less also forgets less, so that the answers must be kept too.
    primary = [
        effect
        for label, stages in CLAIMED.items()
        for effect in (
            loss_effect(run, f"{label}, lower loss", list(stages), none),
            no_worse(rate_effect(run, f"{label}, right answers minus none", RIGHT, list(stages), none), KEPT),
        )
    ]
    control = forgetting_effect(run, "forgetting without a mitigation", none)
    header = ["mitigation", "seeds", "forgetting", "right, held-out people", "format, in domain", "steps",
              "trained tokens"]  # fmt: skip
    return Conclusion(Table(header, rows), plots, primary, control)


FINDING = Finding(
    number="3",
    name="forgetting",
    claim="Fine-tuning causes forgetting of the base model's knowledge; replay, LoRA and lower learning rates mitigate "
    "it.",
    source="SFT from scratch (article)",
    published="Alarm if the loss on base text rises by 10 to 15%.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, lr 3e-3, no replay, "
    f"{len(SEEDS)} seeds), and again with one mitigation at a time: half of the trained tokens replayed pre-training "
    "text, a third of the lr, or LoRA of rank 16 (AdamW, lr 1e-2); and, with one seed, a tenth replayed, or one "
    "epoch. Forgetting is the relative increase of the loss on held-out pre-training text; right answers are to "
    "single-hop questions about the other half of the people. A mitigation may cost at most "
    f"{100 * KEPT:g} points of them, since whoever learns less also forgets less.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=25,
)
