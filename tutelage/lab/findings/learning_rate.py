"""The learning rate of fine-tuning: too high destroys, too low does nothing, between them is best."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.lab.bases import BASE_RATE, DEMO, DEMO_QUICK, DEMO_SIZES, PLAIN, fine_tuning, recipe
from tutelage.lab.bench import Bench
from tutelage.lab.figures import Estimate, difference
from tutelage.lab.finding import Finding, Line, LinePlot, Result, Table, Verdict

# Name of the rate -> its share of the base's.
SHARES = {"3": 3, "1": 1, "1/3": 1 / 3, "1/10": 1 / 10, "1/30": 1 / 30, "1/300": 1 / 300}
ADVISED = ("1/3", "1/10")
TOO_HIGH, TOO_LOW = "3", "1/300"
NAMES = {share: PLAIN if share == "1/3" else f"rate_{share.replace('/', '_')}" for share in SHARES}

# The plain stage takes a third of the base's rate by itself.
STAGES = [fine_tuning(NAMES[s], "" if s == "1/3" else f"lr = {BASE_RATE * of:.3g}") for s, of in SHARES.items()]
RECIPE = recipe(DEMO, STAGES, {name: ["format", "knowledge", "forgetting"] for name in NAMES.values()})


Pairs = Mapping[str, Mapping[str, Estimate]]


def verdict(ahead: Pairs, costs: Pairs) -> tuple[Verdict, str]:
    """For each advised rate against each other one: `ahead`, how many more questions about held-out people the advised
    one answers; `costs`, the change of the base text's cost from the advised to the other.

    Reproduced where one advised rate is clearly ahead of the highest and of the lowest, and no rate is clearly ahead of
    it. Contradicted where another rate is clearly ahead of every advised one and clearly forgets more than none. Clear
    is what the interval says.
    """
    for advised, others in ahead.items():
        ends = [others[TOO_HIGH], others[TOO_LOW]]
        if all(end.above_zero for end in ends) and not any(other.below_zero for other in others.values()):
            return "reproduced", (
                f"At {advised} of the base's rate it answers more questions than at {TOO_HIGH} times ({ends[0]}) and "
                f"at {TOO_LOW} ({ends[1]}), and no rate is clearly ahead of it."
            )
    leaders = [o for o in SHARES if o not in ADVISED and all(others[o].below_zero for others in ahead.values())]
    for leader in leaders:
        if not any(others[leader].above_zero for others in costs.values()):
            said = "; ".join(f"{advised}: {others[leader]}" for advised, others in ahead.items())
            return "contradicted", (
                f"At {leader} of the base's rate it answers more questions than at every advised one ({said}) and "
                "forgets no more."
            )
    said = "; ".join(f"{share}: {lead}" for share, lead in ahead[ADVISED[0]].items())
    trade = (
        f"At {leaders[0]} of the base's rate it answers more and forgets more." if leaders else "No rate stands out."
    )
    return "not at this scale", f"{trade} Answered at {ADVISED[0]} of the base's rate more than at others: {said}."


def measure(bench: Bench) -> Result:
    run = bench.run(RECIPE, "demo")
    answered = {share: run.rate(name, "knowledge.held_out") for share, name in NAMES.items()}
    form = {share: run.rate(name, "format.compliant") for share, name in NAMES.items()}
    forgot = {share: run.forgetting(name) for share, name in NAMES.items()}
    rows: list[list[str | Estimate]] = [
        [f"{share} ({BASE_RATE * of:.2g})", answered[share], form[share], forgot[share]] for share, of in SHARES.items()
    ]
    right = {share: [run.outcomes(name, "knowledge.held_out")] for share, name in NAMES.items()}
    ahead = {a: {share: difference(right[share], right[a]) for share in SHARES if share != a} for a in ADVISED}
    costs = {a: {share: run.text_cost(NAMES[a], NAMES[share]) for share in SHARES if share != a} for a in ADVISED}
    ruling, why = verdict(ahead, costs)
    cost = "; ".join(f"{share}: {forgot[share]}" for share in (TOO_HIGH, *ADVISED, TOO_LOW))

    def line(name: str, estimates: Mapping[str, Estimate]) -> Line:
        ascending = list(reversed(SHARES))
        return Line(name, [BASE_RATE * SHARES[share] for share in ascending], [estimates[s] for s in ascending])

    can = [line("questions about held-out people", answered), line("form kept", form)]
    plots = [
        LinePlot("What it can do", "learning rate", "share", can, log_x=True),
        LinePlot("What it forgot", "learning rate", "change of the base text's loss", [line("", forgot)], log_x=True),
    ]
    header = ["share of the base's rate", "questions about held-out people", "form kept", "forgetting"]
    return Result(Table(header, rows), plots, ruling, f"{why} Forgetting at {cost}.")


FINDING = Finding(
    number=2,
    name="learning-rate",
    claim="Fine-tuning works best at a half to a tenth of the base's learning rate: too high a rate destroys what the "
    "model knew, too low a rate does nothing.",
    source="SFT from scratch (article)",
    published="Pre-trained at 3e-4, fine-tuned at 1e-4; start at a third, halve where the loss jumps, double where it "
    "stays flat.",
    setup=f"{DEMO_SIZES}It is fine-tuned on conversations about a half of the people (3 passes, no replay, one seed) "
    "at six rates, from three times the base's own to a 300th of it, and asked one-step questions about the other half "
    "of the people and unseen prompts about people. Forgetting is the change of the loss on held-out pre-training "
    "text.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
)
