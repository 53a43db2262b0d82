"""Fine-tuning forgets, and replay and lower rates mend it."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.lab.bases import BASE_RATE, DEMO, DEMO_QUICK, DEMO_SIZES, PLAIN, fine_tuning, recipe
from tutelage.lab.bench import Bench
from tutelage.lab.figures import Estimate, difference
from tutelage.lab.finding import Bar, Finding, IntervalPlot, Result, Table, Verdict

CURES = {
    "replay_10": "replay 0.1",
    "replay_50": "replay 0.5",
    "low_rate": "a third of the rate",
    "one_epoch": "one pass, not three",
}
CLAIMED = ("replay_50", "low_rate")  # what the source calls cures; the others are tried beside them
STAGES = [
    fine_tuning(PLAIN),
    fine_tuning("replay_10", "replay = 0.1"),
    fine_tuning("replay_50", "replay = 0.5"),
    fine_tuning("low_rate", f"lr = {BASE_RATE / 9:.3g}"),
    fine_tuning("one_epoch", epochs=1),
]
RECIPE = recipe(DEMO, STAGES, {name: ["format", "knowledge", "forgetting"] for name in (PLAIN, *CURES)})


def verdict(forgot: Estimate, against_none: Mapping[str, Estimate]) -> tuple[Verdict, str]:
    """`forgot`: what fine-tuning without a cure forgets; `against_none`: for each cure that is claimed, the change of
    the base text's cost against no cure.

    Reproduced where something is forgotten and every cure lowers the cost; contradicted where something is forgotten
    and a cure raises it. Where nothing is forgotten there is nothing to cure.
    """
    said = "; ".join(f"{CURES[name]}: {change}" for name, change in against_none.items())
    text = f"Without a cure the base text's loss changes by {forgot}; against that, {said}"
    if not forgot.above_zero:
        return "not at this scale", f"{text}. Without a cure nothing is clearly forgotten, so there is nothing to cure."
    if all(change.below_zero for change in against_none.values()):
        return "reproduced", f"{text}."
    if any(change.above_zero for change in against_none.values()):
        return "contradicted", f"{text}. A cure makes it worse."
    return "not at this scale", f"{text}. Not every cure clearly helps."


def measure(bench: Bench) -> Result:
    run = bench.run(RECIPE, "demo")
    right = {name: [run.outcomes(name, "knowledge.held_out")] for name in (PLAIN, *CURES)}
    rows: list[list[str | Estimate]] = []
    forgot, answered = [], []
    for name, words in {PLAIN: "none", **CURES}.items():
        lost, can = run.forgetting(name), run.rate(name, "knowledge.held_out")
        cost = "" if name == PLAIN else difference(right[PLAIN], right[name])
        rows.append([words, lost, can, cost, run.rate(name, "format.compliant")])
        forgot.append(Bar(words, "", lost))
        answered.append(Bar(words, "", can))
    header = ["cure", "forgetting", "questions about held-out people", "against no cure", "form kept"]
    plots = [
        IntervalPlot("What is forgotten", "change of the base text's loss", forgot),
        IntervalPlot("What the cure costs: questions about held-out people", "answered", answered),
    ]
    against_none = {name: run.text_cost(PLAIN, name) for name in CLAIMED}
    return Result(Table(header, rows), plots, *verdict(run.forgetting(PLAIN), against_none))


FINDING = Finding(
    number=3,
    name="forgetting",
    claim="Fine-tuning forgets what the base model knew; replay, LoRA and lower rates mitigate it.",
    source="SFT from scratch (article)",
    published="The loss on base text is to raise an alarm when it is up by 10 to 15%.",
    setup=f"{DEMO_SIZES}It is fine-tuned on conversations about a half of the people (3 passes, rate 3e-3, no replay, "
    "one seed), and again with one cure at a time: a tenth or a half of the trained tokens replayed pre-training text, "
    "a third of the rate, or one pass. Forgetting is the change of the loss on held-out pre-training text; questions "
    "are one-step and about the other half of the people. LoRA is not tried here.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
)
