"""One mixed run does what the stages of training do one after another."""

from __future__ import annotations

from tutelage.lab.base_recipe import BASE_LR, GUESS, SEEDS, recipe_toml, sft_stage
from tutelage.lab.decay import DATA, DECAY, MODEL, PEOPLE, QUICK, SETUP, STABLE, pretrain_stage
from tutelage.lab.effects import above, no_worse, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.run_cache import RunCache

EPOCHS, MARGIN, REPLAY = 3, 0.05, 0.85
STAGES = {arm: [f"{arm}_{seed}" for seed in SEEDS] for arm in ("staged", "mixed")}
# As many steps of 4,096 tokens as the stages have in all: those of fine-tuning read 2,048.
MIXED_STEPS = STABLE + DECAY + 70
LINES = [
    pretrain_stage("stable", "world = 1", STABLE, 0),
    *(pretrain_stage(f"decay_without_{seed}", "world = 1", DECAY, seed, "stable") for seed in SEEDS),
    *(sft_stage(name, f"seed = {s}", EPOCHS, f"decay_without_{s}") for s, name in enumerate(STAGES["staged"])),
    'untrained = { kind = "pretrain", data = { world = 1 }, steps = 1, batch_tokens = 4096, lr = 1e-9, '
    'optimizer = { kind = "muon" } }',
    *(
        f'{name} = {{ kind = "sft", from = "untrained", data = {{ chat = 1 }}, replay = {REPLAY}, lr = {BASE_LR}, '
        f'steps = {MIXED_STEPS}, batch_tokens = 4096, keep = "last", seed = {s}, optimizer = {{ kind = "muon" }} }}'
        for s, name in enumerate(STAGES["mixed"])
    ),
]
SUITES = {name: ["knowledge", "format"] for names in STAGES.values() for name in names}
RECIPE = recipe_toml(MODEL + DATA, LINES, SUITES)
RIGHT = "knowledge.held_out"
METRICS = (RIGHT, "knowledge.trained", "format.compliant", "format.prompts.out_of_domain")


def measure(runs: RunCache) -> Conclusion:
    """Right answers and format after three stages, and after one run on the mixture."""
    run = runs.run(RECIPE, "decay")
    table: list[list[str | Estimate]] = []
    bars = []
    labels = {"staged": "text, falling rate, conversations", "mixed": "all mixed, in one run"}
    for arm, stages in STAGES.items():
        rates = [pooled([run.outcomes(stage, name) for stage in stages]) for name in METRICS]
        parts = ["stable", "decay_without_0", stages[0]] if arm == "staged" else [stages[0]]
        tokens = sum(float(run.summary[f"stages.{part}.tokens"]) for part in parts)
        table.append([labels[arm], *rates, f"{tokens:,.0f}"])
        bars.append(Bar(labels[arm], "", rates[0]))
    staged, mixed = STAGES.values()
    primary = no_worse(rate_effect(run, "right, mixed minus staged", RIGHT, mixed, staged), MARGIN)
    control = above(run, "staged, above guessing", RIGHT, staged, GUESS)
    header = ["training", "right, held-out people", "right, trained people", "format, in domain",
              "format, out of domain", "tokens"]  # fmt: skip
    plot = IntervalPlot("Questions about held-out people", "right", bars)
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="N17",
    name="mixed-stages",
    claim="Only the rate differs between the stages of training: one run on the mixture does as well.",
    source="Revisiting SFT (post)",
    published="No figures.",
    setup=f"{SETUP}Then it is fine-tuned on conversations about half of the {PEOPLE} people ({EPOCHS} epochs, a "
    f"third of the rate). One run from random weights reads the same text and conversations mixed, {1 - REPLAY:.0%} "
    f"of the trained tokens from conversations, at the rate of pre-training, for as many tokens in all ({len(SEEDS)} "
    f"seeds). As well means at most {100 * MARGIN:g} points fewer right answers about the other half.",
    folder="decay",
    recipe=RECIPE,
    quick=(
        *QUICK, "stages.stable.steps=2", *(f"stages.decay_without_{seed}.steps=1" for seed in SEEDS),
        *(f"stages.{name}.steps=2" for name in STAGES["mixed"]),
    ),
    measure=measure,
    minutes=25,
)  # fmt: skip
