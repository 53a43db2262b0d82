"""Conversations in the decay phase of pre-training are worth more than in fine-tuning alone."""

from __future__ import annotations

from tutelage.lab.base_recipe import GUESS, SEEDS, recipe_toml, sft_stage
from tutelage.lab.decay import DATA, DECAY, MODEL, QUICK, SETUP, STABLE, pretrain_stage, spoken
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache

SHARE, EPOCHS, MORE = 0.2, 2, 3
DECAYS = {"with": f"world = {1 - SHARE}, spoken = {SHARE}", "without": "world = 1"}
ARMS = {
    "in the decay phase and in fine-tuning": ("with", EPOCHS),
    "in fine-tuning alone": ("without", EPOCHS),
    "in fine-tuning alone, an epoch more": ("without", MORE),
}
STAGES = {label: [f"chat_{decay}_{epochs}_{seed}" for seed in SEEDS] for label, (decay, epochs) in ARMS.items()}
LINES = [
    pretrain_stage("stable", "world = 1", STABLE, 0),
    *(pretrain_stage(f"decay_{decay}_{s}", data, DECAY, s, "stable") for decay, data in DECAYS.items() for s in SEEDS),
    *(sft_stage(STAGES[label][seed], f"seed = {seed}", epochs, f"decay_{decay}_{seed}")
      for label, (decay, epochs) in ARMS.items() for seed in SEEDS),
]  # fmt: skip
SPOKEN = '[data.spoken]\nkind = "documents"\npath = "ROWS/spoken.jsonl"\n\n'
SUITES = {name: ["knowledge", "format"] for names in STAGES.values() for name in names}
RECIPE = recipe_toml(MODEL + DATA + SPOKEN, LINES, SUITES)
RIGHT = "knowledge.held_out"


def measure(runs: RunCache) -> Conclusion:
    """Right answers about held-out people by where the model met conversations."""
    run = runs.run(RECIPE, "decay", {"spoken": spoken})
    table: list[list[str | Estimate]] = []
    bars = []
    for label, stages in STAGES.items():
        right, form = (pooled([run.outcomes(stage, name) for stage in stages]) for name in (RIGHT, "format.compliant"))
        table.append([label, right, form, *budget(run, stages)])
        bars.append(Bar(label, "", right))
    mixed, _, more = STAGES.values()
    primary = rate_effect(run, "in both minus in fine-tuning alone, an epoch more", RIGHT, mixed, more)
    control = above(run, "fine-tuning alone, above guessing", RIGHT, more, GUESS)
    header = ["conversations", "right, held-out people", "format, in domain", "steps of fine-tuning", "trained tokens"]
    plot = IntervalPlot("Questions about held-out people", "right", bars)
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N13",
    name="chats-in-decay",
    claim="Rows of fine-tuning in the decay phase of pre-training are worth more than in fine-tuning alone.",
    source="Dataset and SFT (lecture), after Hu et al. 2024 (MiniCPM), arXiv 2404.06395, section 6",
    published="MiniCPM 2.4B, GSM8K 27.7 to 42.8, MMLU 44.6 to 51.3.",
    setup=f"{SETUP}In that time it reads the world's text, or that and {SHARE:.0%} of conversations about half of the "
    f"people, as plain text. Then it is fine-tuned on the conversations for {EPOCHS} epochs, and the one without for "
    f"{MORE} too, since the other has met them once more ({len(SEEDS)} seeds of decay and fine-tuning). The other "
    "half of the people is asked about.",
    folder="decay",
    recipe=RECIPE,
    quick=(*QUICK, "stages.stable.steps=2", *(f"stages.decay_{d}_{s}.steps=1" for d in DECAYS for s in SEEDS)),
    measure=measure,
    minutes=20,
)
