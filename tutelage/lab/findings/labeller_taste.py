"""Who labels decides how the model behaves."""

from __future__ import annotations

from tutelage.lab import policies
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.policies import answers_of, dpo_stage, labelled, number, number_effect
from tutelage.lab.run_cache import RunCache

LABELLERS = {"polite": "politeness", "wordy": "length"}
STAGES = {name: [f"dpo_{name}_{seed}" for seed in SEEDS] for name in LABELLERS}
LINES = [dpo_stage(name, who, seed) for who, names in STAGES.items() for seed, name in enumerate(names)]
DATA = "".join(labelled(name, flaw=flaw, strength=1.5) for name, flaw in LABELLERS.items())
RECIPE = policies.BASE + "\n[stages]\n" + "\n".join(LINES) + "\n\n" + DATA
QUICK = (*policies.QUICK, *(f"data.{name}.rows=40" for name in LABELLERS))


def measure(runs: RunCache) -> Conclusion:
    """Polite phrases and words of the policies of two populations of labellers."""
    run = runs.run(RECIPE, "tastes")
    count = 6 if runs.overrides else policies.ASKED
    start = [answers_of(run, run.run.folder / "chat", "polite", count)] * len(SEEDS)
    found = {who: [answers_of(run, run.run.folder / name, who, count) for name in STAGES[who]] for who in LABELLERS}
    table: list[list[str | Estimate]] = []
    bars = []
    for arm, answers in {"fine-tuned": start, **found}.items():
        parts = [number([getattr(one, part) for one in answers]) for part in ("polite", "words", "true")]
        table.append([arm, *parts])
        bars.append(Bar(arm, "", parts[0]))
    polite, wordy = found.values()
    primary = [
        number_effect("polite phrases, polite minus wordy", [a.polite for a in polite], [a.polite for a in wordy]),
        number_effect("words, wordy minus polite", [a.words for a in wordy], [a.words for a in polite], least=1.0),
    ]
    before = answers_of(run, run.run.folder / "chat", "wordy", count)
    control = number_effect("the labeller's own utility, wordy minus fine-tuned", [a.labeller for a in wordy],
                            [before.labeller] * len(SEEDS))  # fmt: skip
    header = ["labellers", "polite phrases", "words", "true utility"]
    return Conclusion(Table(header, table), [IntervalPlot("By labellers", "polite phrases", bars)], primary, control)


FINDING = Finding(
    number="N20",
    name="labeller-taste",
    claim="Who labels decides how the model behaves: other labellers, other policies.",
    source="LLM pipeline (lecture)",
    published="No figures; InstructGPT's labellers agree with each other in 73% of cases.",
    setup=f"{policies.SETUP}DPO learns from 6,000 pairs (one epoch, lr 3e-4, {len(SEEDS)} seeds) of one of two "
    "populations of labellers, who see the same pairs and share the true utility; one overrates politeness (1.5 units "
    "for each polite phrase after the first), the other length (1.5 units for each 20 words).",
    folder="tastes",
    recipe=RECIPE,
    quick=QUICK,
    measure=measure,
    minutes=12,
)
