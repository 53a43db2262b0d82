"""A fine-tuned model answers in its style where its base completed the text."""

from __future__ import annotations

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, PLAIN, SEEDS, recipe_toml, seeded
from tutelage.lab.effects import above, forgetting_effect, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.run_cache import RunCache

TRAINED_ON = {
    "the assistant's tokens": seeded(PLAIN),
    "all tokens": seeded("unmasked", 'train_on = "all_tokens"'),
    "the assistant's tokens, half of them replayed text": seeded("replay_50", "replay = 0.5"),
}
STAGES = {name: line for stages in TRAINED_ON.values() for name, line in stages.items()}
SUITES = {"base": ["knowledge"]} | {name: ["format", "knowledge", "forgetting"] for name in STAGES}
RECIPE = recipe_toml(DEMO, STAGES.values(), SUITES)
CLOZE = "knowledge.cloze.held_out"


def measure(runs: RunCache) -> Conclusion:
    """Completed sentences before and after fine-tuning, by what it trained on."""
    run = runs.run(RECIPE, "demo")
    before = run.rate("base", CLOZE)
    rows: list[list[str | Estimate]] = [["none: the base model", before, "", ""]]
    bars = [Bar("none: the base model", "", before)]
    for label, stages in TRAINED_ON.items():
        completed, right = (
            pooled([run.outcomes(stage, name) for stage in stages]) for name in (CLOZE, "knowledge.held_out")
        )
        rows.append([label, completed, right, forgetting_effect(run, label, list(stages)).estimate])
        bars.append(Bar(label, "", completed))
    plain = list(TRAINED_ON["the assistant's tokens"])
    primary = rate_effect(run, "base minus fine-tuned, sentences completed right", CLOZE, ["base"], plain)
    control = above(run, "fine-tuned, questions right above guessing", "knowledge.held_out", plain, GUESS)
    header = ["fine-tuned on", "sentences completed right", "questions right", "base-text loss"]
    plot = IntervalPlot("Sentences about held-out people, completed without a template", "right", bars)
    return Conclusion(Table(header, rows), [plot], [primary], control)


FINDING = Finding(
    number="N8",
    name="style-locking",
    claim="After fine-tuning on answers a model no longer continues plain text as its base did.",
    source="Revisiting SFT (post)",
    published="A tuned model, given the beginning of a list, comments on it instead of going on.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, lr 3e-3) on the "
    f"assistant's tokens, on all tokens, and with half of the trained tokens replayed text, with {len(SEEDS)} seeds "
    "each. Sentences are beginnings of biographies of the other half, without a chat template, right if the value "
    "follows.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=8,
)
