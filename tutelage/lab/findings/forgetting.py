"""Fine-tuning causes forgetting; replay and lower learning rates mitigate it."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.lab.base_recipe import BASE_LR, DEMO, DEMO_QUICK, DEMO_SETUP, PLAIN, recipe_toml, sft_stage
from tutelage.lab.estimates import Estimate, difference
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table, Verdict
from tutelage.lab.run_cache import RunCache

MITIGATIONS = {
    "replay_10": "replay 0.1",
    "replay_50": "replay 0.5",
    "low_lr": "lr / 3",
    "one_epoch": "1 epoch instead of 3",
}
CLAIMED = ("replay_50", "low_lr")  # the mitigations of the source; the others are measured beside them
STAGES = [
    sft_stage(PLAIN),
    sft_stage("replay_10", "replay = 0.1"),
    sft_stage("replay_50", "replay = 0.5"),
    sft_stage("low_lr", f"lr = {BASE_LR / 9:.3g}"),
    sft_stage("one_epoch", epochs=1),
]
RECIPE = recipe_toml(DEMO, STAGES, {name: ["format", "knowledge", "forgetting"] for name in (PLAIN, *MITIGATIONS)})


def verdict(forgetting: Estimate, changes: Mapping[str, Estimate]) -> tuple[Verdict, str]:
    """The verdict and its reason.

    Args:
        forgetting: the increase of the base-text loss without a mitigation.
        changes: for each claimed mitigation, the change of the base-text loss against none.

    Reproduced if there is forgetting and every mitigation lowers the loss; contradicted if there is forgetting and a
    mitigation raises it. Without forgetting there is nothing to mitigate.
    """
    listed = "; ".join(f"{MITIGATIONS[name]}: {change}" for name, change in changes.items())
    text = f"Without a mitigation the base-text loss changes by {forgetting}; relative to that, {listed}"
    if not forgetting.above_zero:
        return "inconclusive", f"{text}. No significant forgetting, so there is nothing to mitigate."
    if all(change.below_zero for change in changes.values()):
        return "reproduced", f"{text}."
    if any(change.above_zero for change in changes.values()):
        return "contradicted", f"{text}. A mitigation increases forgetting."
    return "inconclusive", f"{text}. Not every mitigation helps significantly."


def measure(runs: RunCache) -> Conclusion:
    """Forgetting, accuracy and format score without and with each mitigation."""
    run = runs.run(RECIPE, "demo")
    outcomes = {name: [run.outcomes(name, "knowledge.held_out")] for name in (PLAIN, *MITIGATIONS)}
    rows: list[list[str | Estimate]] = []
    forgetting_bars, accuracy_bars = [], []
    for name, label in {PLAIN: "none", **MITIGATIONS}.items():
        forgetting, accuracy = run.forgetting(name), run.rate(name, "knowledge.held_out")
        against_none = "" if name == PLAIN else difference(outcomes[PLAIN], outcomes[name])
        rows.append([label, forgetting, accuracy, against_none, run.rate(name, "format.compliant")])
        forgetting_bars.append(Bar(label, "", forgetting))
        accuracy_bars.append(Bar(label, "", accuracy))
    header = ["mitigation", "forgetting", "accuracy, held-out people", "against none", "format"]
    plots = [
        IntervalPlot("Forgetting", "change of the base-text loss", forgetting_bars),
        IntervalPlot("Cost of the mitigation: questions about held-out people", "accuracy", accuracy_bars),
    ]
    changes = {name: run.base_loss_change(PLAIN, name) for name in CLAIMED}
    return Conclusion(Table(header, rows), plots, *verdict(run.forgetting(PLAIN), changes))


FINDING = Finding(
    number=3,
    name="forgetting",
    claim="Fine-tuning causes forgetting of the base model's knowledge; replay, LoRA and lower learning rates mitigate "
    "it.",
    source="SFT from scratch (article)",
    published="Alarm if the loss on base text rises by 10 to 15%.",
    setup=f"{DEMO_SETUP}It is fine-tuned on conversations about half of the people (3 epochs, lr 3e-3, no replay, one "
    "seed), and again with one mitigation at a time: a tenth or half of the trained tokens replayed pre-training text, "
    "a third of the lr, or one epoch. Forgetting is the relative change of the loss on held-out pre-training text; "
    "accuracy is on single-hop questions about the other half of the people. LoRA is not measured here.",
    folder="demo",
    recipe=RECIPE,
    quick=DEMO_QUICK,
    measure=measure,
)
