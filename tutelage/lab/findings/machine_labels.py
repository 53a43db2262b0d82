"""Labels of a language model do nearly as well as those of people."""

from __future__ import annotations

from tutelage.lab import policies
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.effects import no_worse
from tutelage.lab.finding import Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.policies import dpo_answers, dpo_quick, dpo_recipe, number_effect, policy_bars, policy_rows
from tutelage.lab.run_cache import RunCache

LABELLERS = {
    "people": {"temperature": 1.0, "flaw": "none"},
    "machine": {"temperature": 0.25, "flaw": "politeness", "strength": 3.0},
}


def measure(runs: RunCache) -> Conclusion:
    """The true utility of policies of both labellers."""
    before, after = dpo_answers(runs, "labellers", LABELLERS)
    table = policy_rows({"fine-tuned": before["people"], **after}, ("true", "polite", "words"))
    people, machine, start = ([one.true for one in found] for found in (*after.values(), before["people"]))
    primary = [
        number_effect("true utility, machine minus fine-tuned", machine, start),
        no_worse(number_effect("true utility, machine minus people", machine, people), policies.LEAST),
    ]
    control = number_effect("true utility, people minus fine-tuned", people, start)
    header = ["labels", "true utility", "polite phrases", "words"]
    plot = IntervalPlot("By labeller", "true utility", policy_bars(table))
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="N19",
    name="machine-labels",
    claim="Preference labels of a language model do nearly as well as those of people.",
    source="LLM pipeline (lecture), on AlpacaFarm",
    published="AlpacaFarm: 45 times cheaper, and the ranking of methods is the same.",
    setup=f"{policies.SETUP}DPO learns from 6,000 pairs (one epoch, lr 3e-4, {len(SEEDS)} seeds) of one of two "
    "labellers whose labels agree with the true utility equally often, four of five times: people are noisy and not "
    "biased (temperature 1), the machine is consistent and overrates politeness (temperature 0.25, 3 units for each "
    f"polite phrase after the first). As nearly as well counts a true utility at most {policies.LEAST} lower.",
    folder="labellers",
    recipe=dpo_recipe(LABELLERS),
    quick=dpo_quick(LABELLERS),
    measure=measure,
    minutes=12,
)
