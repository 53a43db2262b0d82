"""Training only on the assistant's tokens is better than training on all tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tutelage.lab.base_recipe import DEMO, DEMO_QUICK, DEMO_SETUP, PLAIN, recipe_toml, sft_stage
from tutelage.lab.estimates import Estimate, difference, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table, Verdict
from tutelage.lab.run_cache import FinishedRun, RunCache

SEEDS = (0, 1, 2)
MASKED = [PLAIN, "plain_seed_1", "plain_seed_2"]
UNMASKED = [f"unmasked_seed_{seed}" for seed in SEEDS]
TRAINED_ON = {"the assistant's tokens": MASKED, "all tokens": UNMASKED}
STAGES = [sft_stage(PLAIN), *(sft_stage(MASKED[seed], f"seed = {seed}") for seed in SEEDS[1:])]
STAGES += [sft_stage(UNMASKED[seed], f'seed = {seed}, train_on = "all_tokens"') for seed in SEEDS]
RECIPE = recipe_toml(DEMO, STAGES, {name: ["format", "knowledge"] for name in [*MASKED, *UNMASKED]})
METRICS = {
    "knowledge.held_out": "accuracy, held-out people",
    "format.compliant": "format, in domain",
    "format.prompts.near": "format, near domain",
    "format.prompts.out_of_domain": "format, out of domain",
}


@dataclass(frozen=True)
class Gain:
    """The gain of a metric by the mask, in points: over all seeds with an interval, and per seed."""

    over_seeds: Estimate
    by_seed: list[float]

    @property
    def better(self) -> bool:
        return self.over_seeds.above_zero and min(self.by_seed) > 0

    @property
    def worse(self) -> bool:
        return self.over_seeds.below_zero and max(self.by_seed) < 0


def verdict(gains: Mapping[str, Gain]) -> tuple[Verdict, str]:
    """The verdict and its reason.

    A difference is significant if its interval excludes 0 and every seed has its sign. Reproduced if the mask is
    significantly better by some metric and significantly worse by none, contradicted in the opposite case.
    """
    listed = "; ".join(f"{name}: {gain.over_seeds}" for name, gain in gains.items())
    text = f"Training on the assistant's tokens against all tokens, over {len(SEEDS)} seeds: {listed}"
    better, worse = any(gain.better for gain in gains.values()), any(gain.worse for gain in gains.values())
    if better and not worse:
        return "reproduced", f"{text}."
    if worse and not better:
        return "contradicted", f"{text}."
    reason = "Some metrics are better and others worse." if better else "No difference is significant with every seed."
    return "inconclusive", f"{text}. {reason}"


def gain(run: FinishedRun, name: str) -> Gain:
    """The gain of a metric by the mask."""
    masked, unmasked = ([run.outcomes(stage, name) for stage in stages] for stages in (MASKED, UNMASKED))
    by_seed = [float(np.mean(second - first)) for first, second in zip(unmasked, masked, strict=True)]
    return Gain(difference(unmasked, masked), by_seed)


def measure(runs: RunCache) -> Conclusion:
    """Accuracy, format scores and role leakage with and without the mask."""
    run = runs.run(RECIPE, "demo")
    rows: list[list[str | Estimate]] = []
    rates = {}
    for tokens, stages in TRAINED_ON.items():
        rates[tokens] = {name: pooled([run.outcomes(stage, name) for stage in stages]) for name in METRICS}
        by_seed = ", ".join(f"{run.rate(stage, 'knowledge.held_out').value:.1%}" for stage in stages)
        leakage = sum(1 - run.rate(stage, "format.no_role_leakage").value for stage in stages) / len(stages)
        accuracy, *format_scores = rates[tokens].values()
        rows.append([tokens, accuracy, by_seed, *format_scores, f"{leakage:.1%}"])
    accuracy_label, *format_labels = METRICS.values()
    header = ["trained tokens", accuracy_label, "by seed", *format_labels, "role leakage"]
    bars = [Bar(label, tokens, rates[tokens][name]) for name, label in METRICS.items() for tokens in TRAINED_ON]
    plot = IntervalPlot(f"Trained tokens, over {len(SEEDS)} seeds", "rate", bars)
    gains = {label: gain(run, name) for name, label in METRICS.items()}
    return Conclusion(Table(header, rows), [plot], *verdict(gains))


FINDING = Finding(
    number=1,
    name="mask",
    claim="Training only on the assistant's tokens is better than training on all tokens of a conversation.",
    source="SFT from scratch (article), on the cost of a missing mask in another project",
    published="A mask missing by mistake: ChatCORE .355 -> .315.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, lr 3e-3, no replay), on "
    "the assistant's tokens and on all tokens, with the same conversations in the same order for the same steps, with "
    f"{len(SEEDS)} seeds (orders) each. Accuracy is on single-hop questions about the other half of the people, format "
    "on unseen prompts: about people, near the domain (schools and firms), and out of domain. Intervals are over "
    "questions and prompts.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
)
