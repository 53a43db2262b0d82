"""DPO does in one step what a reward model and PPO do in two."""

from __future__ import annotations

from tutelage.lab import policies
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.effects import no_worse
from tutelage.lab.finding import Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.findings import reward_hacking
from tutelage.lab.policies import answers_of, dpo_stage, number_effect, policy_bars, policy_rows
from tutelage.lab.run_cache import RunCache

DPO = [f"dpo_{seed}" for seed in SEEDS]
PPO = reward_hacking.STAGES["with"]
LINES = [
    reward_hacking.SCORER,
    *(reward_hacking.ppo_stage(name, reward_hacking.KL["with"], seed) for seed, name in enumerate(PPO)),
    *(dpo_stage(name, "pairs", seed) for seed, name in enumerate(DPO)),
]
RECIPE = policies.BASE + "\n[stages]\n" + "\n".join(LINES) + "\n\n" + reward_hacking.PAIRS


def measure(runs: RunCache) -> Conclusion:
    """The true utility of policies of the same labels, and the seconds that they took."""
    run = runs.run(RECIPE, "rlhf")
    count = 6 if runs.overrides else policies.ASKED
    folder = run.run.folder
    start = [answers_of(run, folder / "chat", "pairs", count)] * len(SEEDS)
    ppo, dpo = ([answers_of(run, folder / name, "pairs", count) for name in names] for names in (PPO, DPO))
    seconds = {name: float(run.summary[f"stages.{name}.seconds"]) for name in ("scorer", *PPO, *DPO)}
    took = {
        "fine-tuned": 0.0,
        "reward model and PPO": seconds["scorer"] + sum(seconds[name] for name in PPO) / len(PPO),
        "DPO": sum(seconds[name] for name in DPO) / len(DPO),
    }
    rows = policy_rows(dict(zip(took, (start, ppo, dpo), strict=True)), ("true", "labeller", "divergence"))
    table = [[*row, f"{seconds:.0f} s"] for row, seconds in zip(rows, took.values(), strict=True)]
    truths = [one.true for one in dpo], [one.true for one in ppo]
    primary = no_worse(number_effect("true utility, DPO minus PPO", *truths), policies.LEAST)
    control = number_effect("true utility, PPO minus fine-tuned", truths[1], [one.true for one in start])
    header = ["policy", "true utility", "labeller's utility", "divergence, nats", "training"]
    plot = IntervalPlot("By policy", "true utility", policy_bars(table))
    return Conclusion(Table(header, table), [plot], [primary], control)


FINDING = Finding(
    number="17",
    name="direct-preferences",
    claim="DPO does in one step what a reward model and PPO do in two.",
    source="SFT from scratch (article); LLM pipeline (lecture)",
    published="No figures.",
    setup=f"{policies.SETUP}The same 6,000 pairs of a noisy labeller that overrates politeness train DPO (one epoch, "
    f"beta 0.1, lr 3e-4), or a reward model for PPO ({reward_hacking.STEPS} steps of 64 answers, factor of the "
    f"divergence {reward_hacking.KL['with']}): equal labels, though PPO also draws answers of its own. Each has the "
    f"settings of its recipe, which were chosen on one seed. {len(SEEDS)} seeds. DPO counts as no worse if its true "
    f"utility is at most {policies.LEAST} below, of some 4 between the worst and the best answers.",
    folder="rlhf",
    recipe=RECIPE,
    quick=tuple(change for change in reward_hacking.QUICK if "ppo_without" not in change),
    measure=measure,
    minutes=15,
)
