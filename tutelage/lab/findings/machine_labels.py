"""Labels of a language model do nearly as well as those of people."""

from __future__ import annotations

from tutelage.lab import policies
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.policies import answers_of, dpo_stage, labelled, number, number_effect
from tutelage.lab.run_cache import RunCache

LABELLERS = {
    "people": {"temperature": 1.0, "flaw": "none"},
    "machine": {"temperature": 0.25, "flaw": "politeness", "strength": 3.0},
}
STAGES = {name: [f"dpo_{name}_{seed}" for seed in SEEDS] for name in LABELLERS}
LINES = [dpo_stage(name, who, seed) for who, names in STAGES.items() for seed, name in enumerate(names)]
DATA = "".join(labelled(name, **settings) for name, settings in LABELLERS.items())
RECIPE = policies.BASE + "\n[stages]\n" + "\n".join(LINES) + "\n\n" + DATA
QUICK = (*policies.QUICK, *(f"data.{name}.rows=40" for name in LABELLERS))


def measure(runs: RunCache) -> Conclusion:
    """The true utility of policies of both labellers."""
    run = runs.run(RECIPE, "labellers")
    count = 6 if runs.overrides else policies.ASKED
    start = [answers_of(run, run.run.folder / "chat", "people", count)] * len(SEEDS)
    found = {who: [answers_of(run, run.run.folder / name, who, count) for name in STAGES[who]] for who in LABELLERS}
    table: list[list[str | Estimate]] = []
    bars = []
    for arm, answers in {"fine-tuned": start, **found}.items():
        parts = [number([getattr(one, part) for one in answers]) for part in ("true", "polite", "words")]
        table.append([arm, *parts])
        bars.append(Bar(arm, "", parts[0]))
    people, machine = ([one.true for one in answers] for answers in found.values())
    before, margin = [one.true for one in start], policies.LEAST
    primary = [
        number_effect("true utility, machine minus fine-tuned", machine, before),
        number_effect(f"true utility, machine minus people, above -{margin}", machine, people, 0.0, margin),
    ]
    control = number_effect("true utility, people minus fine-tuned", people, before)
    header = ["labels", "true utility", "polite phrases", "words"]
    return Conclusion(Table(header, table), [IntervalPlot("By labeller", "true utility", bars)], primary, control)


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
    recipe=RECIPE,
    quick=QUICK,
    measure=measure,
    minutes=12,
)
