"""Without the divergence from its start in the objective, a policy cheats the reward model."""

from __future__ import annotations

from pathlib import Path

from tutelage.lab import policies
from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.policies import Answers, answers_of, number, number_effect, policy_rows
from tutelage.lab.run_cache import RunCache
from tutelage.model.hub import load_model
from tutelage.stages.kept import kept_models

STEPS, SAVED = 120, 15
KL = {"with": 0.2, "without": 0.0}
SCORER = (
    'scorer = { kind = "reward", from = "chat", data = { pairs = 1 }, held_out = 0.15, epochs = 2, '
    'batch_tokens = 2048, lr = 2e-3, keep = "last", optimizer = { kind = "muon" } }'
)


def ppo_stage(name: str, kl: float, seed: int) -> str:
    """A line for [stages] of a recipe: PPO against the reward model, as in recipes/rlhf.toml."""
    return (
        f'{name} = {{ kind = "ppo", from = "chat", data = {{ questions = 1 }}, held_out = 0.05, '
        'rewards = { score = { kind = "model", model = "scorer" } }, '
        f"steps = {STEPS}, prompts = 64, max_tokens = 80, kl = {kl}, lr = 3e-4, seed = {seed}, save_every = {SAVED}, "
        f'keep_checkpoints = {STEPS // SAVED}, schedule = {{ kind = "constant", warmup = 0.05 }} }}'
    )


STAGES = {arm: [f"ppo_{arm}_kl_{seed}" for seed in SEEDS] for arm in KL}
LINES = [ppo_stage(STAGES[arm][seed], kl, seed) for arm, kl in KL.items() for seed in SEEDS]
PAIRS = policies.labelled("pairs", flaw="politeness", strength=0.5)
RECIPE = policies.BASE + "\n[stages]\n" + "\n".join([SCORER, *LINES]) + "\n\n" + PAIRS
QUICK = (
    *policies.QUICK, "data.pairs.rows=100", "stages.scorer.epochs=1",
    *(f"stages.{name}.{change}" for names in STAGES.values() for name in names
      for change in ("steps=1", "prompts=4", "max_tokens=4", "save_every=1")),
)  # fmt: skip


def measure(runs: RunCache) -> Conclusion:
    """True utility, the reward model's score and the divergence, with and without the divergence in the reward; and
    without it at the step that first has the score of the other."""
    run = runs.run(RECIPE, "rlhf")
    count = 6 if runs.overrides else policies.ASKED
    scorer = load_model(run.run.folder / "scorer")

    def answers(folder: Path) -> Answers:
        return answers_of(run, folder, "pairs", count, scorer)

    start = [answers(run.run.folder / "chat")] * len(SEEDS)
    kept, free = ([answers(run.run.folder / name) for name in names] for names in STAGES.values())
    equal = []
    for own, last, name in zip(kept, free, STAGES["without"], strict=True):
        along = [answers(folder) for folder in kept_models(run.run.folder / name).values()]
        equal.append(next((one for one in along if one.score.mean() >= own.score.mean()), last))
    arms = {
        "fine-tuned": start,
        f"PPO, factor {KL['with']}": kept,
        "PPO, factor 0": free,
        "the same at the first step with an equal score": equal,
    }
    table = policy_rows(arms, ("true", "score", "divergence", "words", "polite"))
    bars = [
        Bar(arm, name, number([getattr(one, part) for one in found]))
        for arm, found in arms.items()
        for name, part in (("true utility", "true"), ("score", "score"))
    ]
    primary = [
        number_effect("true utility, with minus without", [one.true for one in kept], [one.true for one in free]),
        number_effect("score, without minus with", [one.score for one in free], [one.score for one in kept]),
    ]
    gained = [one.score for one in kept], [one.score for one in start]
    control = number_effect("score, PPO with the divergence minus fine-tuned", *gained)
    header = ["policy", "true utility", "score of the reward model", "divergence, nats", "words", "polite phrases"]
    return Conclusion(Table(header, table), [IntervalPlot("By policy", "utility, score", bars)], primary, control)


FINDING = Finding(
    number="16",
    name="reward-hacking",
    claim="Without the divergence from its start in the objective, a policy cheats the reward model: the score rises "
    "and the true worth falls.",
    source="SFT from scratch (article), on InstructGPT",
    published="No figures.",
    setup=f"{policies.SETUP}A reward model learns from 6,000 pairs of a noisy labeller that overrates politeness. PPO "
    f"against it takes {STEPS} steps of 64 answers (lr 3e-4), with a factor of the divergence of {KL['with']} and of "
    f"0, {len(SEEDS)} seeds. Both are shown at the end, and the one without also at the first of its kept steps that "
    "has the other's score, with its divergence there. Intervals are over questions.",
    folder="rlhf",
    recipe=RECIPE,
    quick=QUICK,
    measure=measure,
    minutes=20,
)
