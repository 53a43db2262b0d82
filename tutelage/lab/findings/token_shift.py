"""Alignment moves few tokens, and mostly the first ones of an answer."""

from __future__ import annotations

import numpy as np

from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.token_shift import MARGINAL, ShiftedAnswer, token_shift
from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, GUESS, PLAIN, SEEDS, recipe_toml, seeded
from tutelage.lab.effects import above, mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.run_cache import FinishedRun, RunCache
from tutelage.lab.world_rows import one_step_questions
from tutelage.model.hub import load_model
from tutelage.records import Conversation, message
from tutelage.world.values import ATTRIBUTES

FIRST = 5  # tokens of an answer
ASKED = 200
STAGES = seeded(PLAIN)
RECIPE = recipe_toml(DEMO, STAGES.values(), {name: ["format", "knowledge"] for name in STAGES})
CLASSES = {"unshifted": (1, 1), "marginal": (2, MARGINAL), "shifted": (MARGINAL + 1, 10**9)}


def answers_of(run: FinishedRun, stage: str, count: int) -> list[ShiftedAnswer]:
    """The fine-tuned model's answers about held-out people, with the base model's ranks of their tokens."""
    rows = one_step_questions(ATTRIBUTES[:2], "held_out")()
    prompts = [Conversation((message("user", str(row["question"])),), str(row["id"])) for row in rows][:count]
    aligned, base = load_model(run.run.folder / stage), load_model(run.run.folder / "base")
    answers, _ = token_shift(aligned, base, prompts, SamplingSettings(max_tokens=64))
    return answers


def share(answers: list[ShiftedAnswer], kind: str, begin: int = 0, end: int | None = None) -> np.ndarray:
    """The share of tokens of a class in each answer that has more than FIRST tokens, float64[answers]."""
    low, high = CLASSES[kind]
    parts = [answer.rank_T[begin:end] for answer in answers if len(answer.rank_T) > FIRST]
    return np.array([np.mean((part >= low) & (part <= high)) for part in parts])


def measure(runs: RunCache) -> Conclusion:
    """The classes of tokens, in all and by position."""
    run = runs.run(RECIPE, "demo")
    by_seed = [answers_of(run, stage, 8 if runs.overrides else ASKED) for stage in STAGES]
    # Which answers are long enough differs by seed, so each seed is summed up by itself before they are averaged.
    shortest = min(len(share(answers, "shifted")) for answers in by_seed)
    rows: list[list[str | Estimate]] = []
    bars = []
    for label, begin, end in (("all", 0, None), (f"first {FIRST} tokens", 0, FIRST), ("later tokens", FIRST, None)):
        shares = {k: mean_estimate([share(a, k, begin, end)[:shortest] for a in by_seed]) for k in CLASSES}
        rows.append([label, *shares.values()])
        bars += [Bar(label, kind, estimate) for kind, estimate in shares.items()]
    unshifted = [share(answers, "unshifted")[:shortest] for answers in by_seed]
    first, later = (
        [share(answers, "shifted", begin, end)[:shortest] for answers in by_seed]
        for begin, end in ((0, FIRST), (FIRST, None))
    )
    primary = [
        mean_effect("unshifted tokens above 70%", unshifted, [np.full(shortest, 0.7)] * len(by_seed)),
        mean_effect(f"shifted, first {FIRST} tokens minus later ones", first, later),
    ]
    control = above(run, "fine-tuned, questions right above guessing", "knowledge.held_out", list(STAGES), GUESS)
    plot = IntervalPlot("Ranks of the fine-tuned model's tokens under the base model", "share of tokens", bars)
    return Conclusion(Table(["tokens of an answer", *CLASSES], rows), [plot], primary, control)


FINDING = Finding(
    number="12",
    name="token-shift",
    claim="Alignment moves few tokens: most of an aligned model's answer is what its base would have written, and what "
    "is not stands at the beginning.",
    source="Training LLMs (lecture), after Lin et al. 2023, arXiv 2312.01552",
    published="Unshifted, marginal, shifted: Llama 2 77.7, 14.5, 7.8%; Vicuna 82.4, 12.8, 4.8%; "
    "Mistral 82.2, 12.5, 5.2%.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, lr 3e-3, {len(SEEDS)} "
    f"seeds). Its greedy answers to {ASKED} questions about the other half are read by the base model, after the "
    "user's text and a line break, since the base has no chat template. A token is unshifted if the base ranks it "
    f"first, marginal if second or third, else shifted. Only answers of more than {FIRST} tokens count.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
    minutes=3,
)
