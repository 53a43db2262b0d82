"""The learning rate of fine-tuning: too high destroys knowledge, too low learns nothing, the best lies between."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.lab.base_recipe import BASE_LR, DEMO, DEMO_QUICK, DEMO_SETUP, PLAIN, recipe_toml, sft_stage
from tutelage.lab.estimates import Estimate, difference
from tutelage.lab.finding import Conclusion, Finding, Line, LinePlot, Table, Verdict
from tutelage.lab.run_cache import RunCache

# Name of the learning rate -> its ratio to the base's.
RATIOS = {"3": 3, "1": 1, "1/3": 1 / 3, "1/10": 1 / 10, "1/30": 1 / 30, "1/300": 1 / 300}
RECOMMENDED = ("1/3", "1/10")
TOO_HIGH, TOO_LOW = "3", "1/300"
NAMES = {ratio: PLAIN if ratio == "1/3" else f"lr_{ratio.replace('/', '_')}" for ratio in RATIOS}

# The plain stage takes a third of the base's learning rate by default.
STAGES = [sft_stage(NAMES[r], "" if r == "1/3" else f"lr = {BASE_LR * ratio:.3g}") for r, ratio in RATIOS.items()]
RECIPE = recipe_toml(DEMO, STAGES, {name: ["format", "knowledge", "forgetting"] for name in NAMES.values()})

# Recommended learning rate -> other learning rate -> estimate.
Comparisons = Mapping[str, Mapping[str, Estimate]]


def verdict(leads: Comparisons, costs: Comparisons) -> tuple[Verdict, str]:
    """The verdict and its reason.

    Args:
        leads: accuracy on held-out people at a recommended lr minus that at another lr.
        costs: change of the base-text loss from a recommended lr to another lr.

    Reproduced if one recommended lr is significantly better than the highest and the lowest lr, and no lr is
    significantly better than it. Contradicted if another lr is significantly better than every recommended one and
    forgets significantly more than none of them. Significant: the interval excludes 0.
    """
    for recommended, others in leads.items():
        ends = [others[TOO_HIGH], others[TOO_LOW]]
        if all(end.above_zero for end in ends) and not any(other.below_zero for other in others.values()):
            return "reproduced", (
                f"Accuracy at {recommended} of the base's lr is higher than at {TOO_HIGH} ({ends[0]}) and at {TOO_LOW} "
                f"({ends[1]}), and no lr is significantly better."
            )
    leaders = [r for r in RATIOS if r not in RECOMMENDED and all(others[r].below_zero for others in leads.values())]
    for leader in leaders:
        if not any(others[leader].above_zero for others in costs.values()):
            listed = "; ".join(f"{recommended}: {others[leader]}" for recommended, others in leads.items())
            return "contradicted", (
                f"Accuracy at {leader} of the base's lr is higher than at every recommended one ({listed}), without "
                "more forgetting."
            )
    listed = "; ".join(f"{ratio}: {lead}" for ratio, lead in leads[RECOMMENDED[0]].items())
    trade = (
        f"At {leaders[0]} of the base's lr, accuracy and forgetting are both higher."
        if leaders
        else "No lr is significantly best."
    )
    return "inconclusive", f"{trade} Accuracy at {RECOMMENDED[0]} of the base's lr minus that at others: {listed}."


def measure(runs: RunCache) -> Conclusion:
    """Accuracy, format score and forgetting at each learning rate."""
    run = runs.run(RECIPE, "demo")
    accuracy = {ratio: run.rate(name, "knowledge.held_out") for ratio, name in NAMES.items()}
    format_scores = {ratio: run.rate(name, "format.compliant") for ratio, name in NAMES.items()}
    forgetting = {ratio: run.forgetting(name) for ratio, name in NAMES.items()}
    rows: list[list[str | Estimate]] = [
        [f"{ratio} ({BASE_LR * factor:.2g})", accuracy[ratio], format_scores[ratio], forgetting[ratio]]
        for ratio, factor in RATIOS.items()
    ]
    outcomes = {ratio: [run.outcomes(name, "knowledge.held_out")] for ratio, name in NAMES.items()}
    leads, costs = {}, {}
    for recommended in RECOMMENDED:
        others = [ratio for ratio in RATIOS if ratio != recommended]
        leads[recommended] = {ratio: difference(outcomes[ratio], outcomes[recommended]) for ratio in others}
        costs[recommended] = {ratio: run.base_loss_change(NAMES[recommended], NAMES[ratio]) for ratio in others}
    verdict_here, reason = verdict(leads, costs)
    listed = "; ".join(f"{ratio}: {forgetting[ratio]}" for ratio in (TOO_HIGH, *RECOMMENDED, TOO_LOW))

    def line(name: str, estimates: Mapping[str, Estimate]) -> Line:
        ascending = list(reversed(RATIOS))
        return Line(name, [BASE_LR * RATIOS[ratio] for ratio in ascending], [estimates[ratio] for ratio in ascending])

    scores = [line("accuracy, held-out people", accuracy), line("format", format_scores)]
    plots = [
        LinePlot("Accuracy and format", "learning rate", "rate", scores, log_x=True),
        LinePlot("Forgetting", "learning rate", "change of the base-text loss", [line("", forgetting)], log_x=True),
    ]
    header = ["ratio to the base's lr", "accuracy, held-out people", "format", "forgetting"]
    return Conclusion(Table(header, rows), plots, verdict_here, f"{reason} Forgetting at {listed}.")


FINDING = Finding(
    number=2,
    name="learning-rate",
    claim="Fine-tuning works best at a half to a tenth of the base's learning rate: a higher one destroys the base's "
    "knowledge, a lower one learns nothing.",
    source="SFT from scratch (article)",
    published="Pre-trained at 3e-4, fine-tuned at 1e-4; start at a third, halve it if the loss jumps, double it if the "
    "loss stays flat.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, no replay, one seed) at "
    "six learning rates, from 3 times to 1/300 of the base's. Accuracy is on single-hop questions about the other half "
    "of the people, format on unseen prompts about people. Forgetting is the relative change of the loss on held-out "
    "pre-training text.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
)
