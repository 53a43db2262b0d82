"""Training only on the assistant's tokens is better than training on all tokens."""

from __future__ import annotations

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, PLAIN, SEEDS, recipe_toml, seeded
from tutelage.lab.effects import above, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.measures import budget
from tutelage.lab.run_cache import RunCache

ALL = 'train_on = "all_tokens"'
TRAINED_ON = {
    "the assistant's tokens": seeded(PLAIN),
    "all tokens": seeded("unmasked", ALL),
    "all tokens, twice the steps": seeded("unmasked_long", ALL, epochs=6),
}
FIT = 'too_long = "drop"'  # none is too long, but for the tokenizer of a quick run
TURNS = {
    "the assistant's tokens, long conversations": seeded("joined", FIT, data="joined"),
    "all tokens, long conversations": seeded("unmasked_joined", f"{ALL}, {FIT}", data="joined"),
}
JOINED = 'joined = { kind = "world-chat", split = "train", joined = 0.5 }\n'
STAGES = {name: line for stages in (TRAINED_ON | TURNS).values() for name, line in stages.items()}
SUITES = {name: ["format", "knowledge"] for stages in TRAINED_ON.values() for name in stages}
SUITES |= {name: ["format", "knowledge", "turns"] for stages in TURNS.values() for name in stages}
RECIPE = recipe_toml(DEMO.replace("[stages.base]", JOINED + "\n[stages.base]"), STAGES.values(), SUITES)
METRICS = {
    "knowledge.held_out": "right, held-out people",
    "format.compliant": "format, in domain",
    "format.prompts.near": "format, near domain",
    "format.prompts.out_of_domain": "format, out of domain",
}


def measure(runs: RunCache) -> Conclusion:
    """Accuracy, format scores and role leakage with and without the mask."""
    run = runs.run(RECIPE, "demo")
    rows: list[list[str | Estimate]] = []
    bars = []
    for tokens, stages in (TRAINED_ON | TURNS).items():
        rates = [pooled([run.outcomes(stage, name) for stage in stages]) for name in METRICS]
        leakage = sum(1 - run.rate(stage, "format.no_role_leakage").value for stage in stages) / len(stages)
        third = pooled([run.outcomes(stage, "turns.third") for stage in stages]) if tokens in TURNS else ""
        rows.append([tokens, *rates, third, f"{leakage:.1%}", *budget(run, list(stages))])
        bars += [Bar(label, tokens, rate) for label, rate in zip(METRICS.values(), rates, strict=True)]
    plot = IntervalPlot(f"Trained tokens, over {len(SEEDS)} seeds", "rate", sorted(bars, key=lambda bar: bar.label))
    masked, unmasked, _ = (list(stages) for stages in TRAINED_ON.values())
    primary = rate_effect(run, "masked minus unmasked, held-out people", "knowledge.held_out", masked, unmasked)
    control = above(run, "masked, held-out people, above guessing", "knowledge.held_out", masked, GUESS)
    header = ["trained on", *METRICS.values(), "right, third turn", "role leakage", "steps", "trained tokens"]
    return Conclusion(Table(header, rows), [plot], [primary], control)


FINDING = Finding(
    number="1",
    name="mask",
    claim="Training only on the assistant's tokens is better than training on all tokens of a conversation.",
    source="SFT from scratch (article), on the cost of a missing mask in another project",
    published="A mask missing by mistake: ChatCORE .355 -> .315.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, lr 3e-3, no replay), "
    "on the assistant's tokens and on all tokens, with the same conversations in the same order for the same steps, "
    f"and on all tokens for twice the steps, with {len(SEEDS)} seeds (orders) each; and once more on conversations "
    "half of which are two to four in one. Right answers are to single-hop questions about the other half of the "
    "people, format is on unseen prompts: about people, near the domain (schools and firms), and out of domain. "
    "Intervals are over questions and prompts.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=25,
)
