"""Who labels decides how the model behaves."""

from __future__ import annotations

from tutelage.lab import policies
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.finding import Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.policies import dpo_answers, dpo_quick, dpo_recipe, number_effect, policy_bars, policy_rows
from tutelage.lab.run_cache import RunCache

LABELLERS = {"polite": {"flaw": "politeness", "strength": 1.5}, "wordy": {"flaw": "length", "strength": 1.5}}


def measure(runs: RunCache) -> Conclusion:
    """Polite phrases and words of the policies of two populations of labellers."""
    before, after = dpo_answers(runs, "tastes", LABELLERS)
    table = policy_rows({"fine-tuned": before["polite"], **after}, ("polite", "words", "true"))
    polite, wordy = after.values()
    primary = [
        number_effect("polite phrases, polite minus wordy", [a.polite for a in polite], [a.polite for a in wordy]),
        number_effect("words, wordy minus polite", [a.words for a in wordy], [a.words for a in polite], least=1.0),
    ]
    own = [a.labeller for a in wordy], [a.labeller for a in before["wordy"]]
    control = number_effect("the labeller's own utility, wordy minus fine-tuned", *own)
    header = ["labellers", "polite phrases", "words", "true utility"]
    plot = IntervalPlot("By labellers", "polite phrases", policy_bars(table))
    return Conclusion(Table(header, table), [plot], primary, control)


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
    recipe=dpo_recipe(LABELLERS),
    quick=dpo_quick(LABELLERS),
    measure=measure,
    minutes=12,
)
