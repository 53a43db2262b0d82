"""Grading only the assistant's tokens beats grading all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tutelage.lab.bases import DEMO, DEMO_QUICK, DEMO_SIZES, PLAIN, fine_tuning, recipe
from tutelage.lab.bench import Bench, FinishedRun
from tutelage.lab.figures import Estimate, difference, pooled
from tutelage.lab.finding import Bar, Finding, IntervalPlot, Result, Table, Verdict

SEEDS = (0, 1, 2)
MASKED = [PLAIN, "plain_seed_1", "plain_seed_2"]
UNMASKED = [f"unmasked_seed_{seed}" for seed in SEEDS]
TRAINED_ON = {"the assistant's tokens": MASKED, "all tokens": UNMASKED}
STAGES = [fine_tuning(PLAIN), *(fine_tuning(MASKED[seed], f"seed = {seed}") for seed in SEEDS[1:])]
STAGES += [fine_tuning(UNMASKED[seed], f'seed = {seed}, train_on = "all_tokens"') for seed in SEEDS]
RECIPE = recipe(DEMO, STAGES, {name: ["format", "knowledge"] for name in [*MASKED, *UNMASKED]})
MEASURES = {
    "knowledge.held_out": "questions about held-out people",
    "format.compliant": "form kept",
    "format.prompts.near": "near the domain",
    "format.prompts.out_of_domain": "far from it",
}


@dataclass(frozen=True)
class Gain:
    """How many points the mask adds to a measure: over all seeds with an interval, and with each seed."""

    over_seeds: Estimate
    by_seed: list[float]

    @property
    def better(self) -> bool:
        return self.over_seeds.above_zero and min(self.by_seed) > 0

    @property
    def worse(self) -> bool:
        return self.over_seeds.below_zero and max(self.by_seed) < 0


def verdict(gains: Mapping[str, Gain]) -> tuple[Verdict, str]:
    """Clear is a difference whose interval lies on one side of 0, with every seed on that side. Reproduced where the
    mask is clearly better by a measure and clearly worse by none, contradicted where it is the other way round."""
    said = "; ".join(f"{name}: {gain.over_seeds}" for name, gain in gains.items())
    text = f"Grading the assistant alone against grading all, over {len(SEEDS)} seeds: {said}"
    better, worse = any(gain.better for gain in gains.values()), any(gain.worse for gain in gains.values())
    if better and not worse:
        return "reproduced", f"{text}."
    if worse and not better:
        return "contradicted", f"{text}."
    reason = "One measure speaks for it and another against." if better else "No difference is clear with every seed."
    return "not at this scale", f"{text}. {reason}"


def gain(run: FinishedRun, name: str) -> Gain:
    """What the mask adds to a measure."""
    masked, unmasked = ([run.outcomes(stage, name) for stage in stages] for stages in (MASKED, UNMASKED))
    by_seed = [float(np.mean(second - first)) for first, second in zip(unmasked, masked, strict=True)]
    return Gain(difference(unmasked, masked), by_seed)


def measure(bench: Bench) -> Result:
    run = bench.run(RECIPE, "demo")
    rows: list[list[str | Estimate]] = []
    rates = {}
    for trained, stages in TRAINED_ON.items():
        rates[trained] = {name: pooled([run.outcomes(stage, name) for stage in stages]) for name in MEASURES}
        seeds = ", ".join(f"{run.rate(stage, 'knowledge.held_out').value:.1%}" for stage in stages)
        spoke = sum(1 - run.rate(stage, "format.no_role_leakage").value for stage in stages) / len(stages)
        questions, *form = rates[trained].values()
        rows.append([trained, questions, seeds, *form, f"{spoke:.1%}"])
    questions_words, *form_words = MEASURES.values()
    header = ["trained tokens", questions_words, "by seed", *form_words, "speaks for the user"]
    bars = [Bar(words, trained, rates[trained][name]) for name, words in MEASURES.items() for trained in TRAINED_ON]
    plot = IntervalPlot(f"What is trained, over {len(SEEDS)} seeds", "share of answers", bars)
    gains = {words: gain(run, name) for name, words in MEASURES.items()}
    return Result(Table(header, rows), [plot], *verdict(gains))


FINDING = Finding(
    number=1,
    name="mask",
    claim="Grading only the assistant's tokens beats grading all tokens of a conversation.",
    source="SFT from scratch (article), on what a lost mask cost another project",
    published="A mask that was lost by mistake: ChatCORE .355 -> .315.",
    setup=f"{DEMO_SIZES}It is fine-tuned on conversations about a half of the people (3 passes, rate 3e-3, no replay), "
    "once grading the assistant's tokens and once grading all, on the same conversations in the same order and for the "
    f"same steps, with {len(SEEDS)} orders each (seeds). It is asked one-step questions about the other half of the "
    "people, and tried on unseen prompts: about people, near that (schools and firms), and about anything else. "
    "Intervals are over questions and prompts.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
)
