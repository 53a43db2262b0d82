"""Fine-tuning memorises, reinforcement learning generalises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from tutelage.evaluate.answers import ANSWER, ask_text
from tutelage.lab.base_recipe import SEEDS, rows_data
from tutelage.lab.effects import mean_effect, mean_estimate
from tutelage.lab.estimates import Estimate
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.findings.rl_needs_format import grpo_stage
from tutelage.lab.measures import budget, some
from tutelage.lab.run_cache import RunCache
from tutelage.model.hub import load_model
from tutelage.scoring.numeric import numeric
from tutelage.stages.kept import kept_models
from tutelage.world import cards, sums
from tutelage.world.keyed_random import KeyedRandom

START_SHARE, STEPS, SFT_STEPS, SAVED = 0.15, 60, 240, 30
# Where the sums of the test begin: those of no row, and under the other rule, of which there is no row, more.
TESTED: Mapping[cards.CardRule, float] = {"tens": sums.TRAINED, "ranks": 0.7}
ARMS = ("frozen", "varied", "grpo")
STAGES = {arm: [f"{arm}_{seed}" for seed in SEEDS] for arm in ARMS}
LABELS = {
    "frozen": "fine-tuning, one rule",
    "varied": "fine-tuning, many rules",
    "grpo": "reinforcement learning, one rule",
}


def varied_rows() -> Iterator[Mapping[str, str]]:
    """The sums of the rows with one rule, each under a rule of its own: other values than those of the test."""
    for number, one in enumerate(islice(cycle(cards.card_sums(0.0, sums.TRAINED)), 3000)):
        rng = KeyedRandom("card rule", number)
        values = {face: rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 20)) for face in "JQK"}
        rule = ", ".join(f"{face} = {value}" for face, value in values.items())
        pair = (one.face, str(one.number)) if one.face_first else (str(one.number), one.face)
        left, right = (values.get(term) or int(term) for term in pair)
        yield {"prompt": f"{rule}. {' + '.join(pair)}?", "completion": f"{left} + {right} = {left + right}"}


def frozen_rows() -> Iterator[Mapping[str, str]]:
    """The same sums under the rule of training."""
    for one in islice(cycle(cards.card_sums(0.0, sums.TRAINED)), 3000):
        yield {"prompt": cards.question(one, "tens"), "completion": cards.answer(one, "tens")}


def _sft(name: str, start: str, data: str, steps: int, seed: int, changes: str = "") -> str:
    return (
        f'{name} = {{ kind = "sft", from = "{start}", data = {{ {data} = 1 }}, held_out = 0, steps = {steps}, '
        f'batch_tokens = 2048, keep = "last", lr = 1e-3, seed = {seed}{changes} }}'
    )


KEPT = f", save_every = {SAVED}, keep_checkpoints = {SFT_STEPS // SAVED}"
LINES = [
    _sft("chat", "base", "chats", 40, 0),
    *(_sft(name, "chat", arm, SFT_STEPS, seed, KEPT) for arm in ARMS[:2] for seed, name in enumerate(STAGES[arm])),
    *(grpo_stage(name, "chat", seed, STEPS) for seed, name in enumerate(STAGES["grpo"])),
]
RECIPE = f"""\
name      = "lab"
model     = {{ depth = 3, width = 128, context = 96 }}
tokenizer = {{ kind = "char", data = ["texts", "chats"] }}

[data]
texts = {{ kind = "sums", share = 0.9 }}
chats = {{ kind = "cards-chat", share = {START_SHARE} }}
tasks = {{ kind = "cards-tasks", start = {START_SHARE} }}

{rows_data("frozen", "varied")}[stages.base]
kind         = "pretrain"
data         = {{ texts = 1 }}
held_out     = 0.0
steps        = 300
batch_tokens = 4096
lr           = 3e-3
optimizer    = {{ kind = "muon" }}

[stages]
{chr(10).join(LINES)}
"""
QUICK = (
    "model.depth=1", "model.width=32", "stages.base.steps=2", "stages.chat.steps=1",
    *(f"stages.{name}.steps=1" for arm in ARMS for name in STAGES[arm]),
    *(f"stages.{name}.save_every=1" for arm in ARMS[:2] for name in STAGES[arm]),
    *(f"stages.{name}.{change}" for name in STAGES["grpo"] for change in ("prompts=2", "max_tokens=8")),
)  # fmt: skip


def asked(rule: cards.CardRule) -> list[tuple[str, int]]:
    """Questions with sums that nothing has shown under a rule, and their results."""
    found = cards.card_sums(TESTED[rule], 1.0)
    return [(cards.question(one, rule), sum(cards.terms(one, rule))) for one in found]


def right(runs: RunCache, folder: Path, rule: cards.CardRule) -> np.ndarray:
    """Whether each sum is answered right under a rule, float64 [sums]."""
    prompts, golds = zip(*some(runs, asked(rule)), strict=True)
    answers = ask_text(load_model(folder), prompts, ANSWER, f"sums of {folder.name}")
    return np.array([float(numeric(a.text, gold).outcome == "right") for a, gold in zip(answers, golds, strict=True)])


def first_as_right(runs: RunCache, folder: Path, level: float) -> Path:
    """The first kept step of a stage that is right under the rule of training as often as `level`, or its last: what
    fine-tuning knows of another rule may be lost later."""
    kept = kept_models(folder).values()
    return next((step for step in kept if right(runs, step, "tens").mean() >= level), folder)


def measure(runs: RunCache) -> Conclusion:
    """Sums under the rule of training and under another, by how the model was trained: at the end, and for fine-tuning
    also at the first step that is right under the rule of training as often as reinforcement learning is."""
    files: Mapping[str, Callable[[], Iterator[Mapping[str, str]]]] = {"frozen": frozen_rows, "varied": varied_rows}
    run = runs.run(RECIPE, "cards", files)
    folders = {arm: [run.run.folder / name for name in names] for arm, names in STAGES.items()}
    levels = [float(right(runs, folder, "tens").mean()) for folder in folders["grpo"]]
    models = {"the start of all": [run.run.folder / "chat"] * len(SEEDS), LABELS["grpo"]: folders["grpo"]}
    for arm in ARMS[:2]:
        models[f"{LABELS[arm]}, the first step as right"] = [
            first_as_right(runs, folder, level) for folder, level in zip(folders[arm], levels, strict=True)
        ]
        models[f"{LABELS[arm]}, the end"] = folders[arm]
    found = {
        label: {rule: [right(runs, one, rule) for one in ones] for rule in TESTED} for label, ones in models.items()
    }
    stages = {LABELS["grpo"]: "grpo", **{f"{LABELS[arm]}, the end": arm for arm in ARMS[:2]}}
    table: list[list[str | Estimate]] = [
        [label, *map(mean_estimate, by_rule.values()),
         *(budget(run, STAGES[stages[label]]) if label in stages else ("", ""))]
        for label, by_rule in found.items()
    ]  # fmt: skip
    bars = [Bar(label, f"rule of {'training' if rule == 'tens' else 'the test'}", mean_estimate(values))
            for label, by_rule in found.items() for rule, values in by_rule.items()]  # fmt: skip
    rl = found[LABELS["grpo"]]
    primary = [
        mean_effect(f"other rule, reinforcement learning minus {label}", rl["ranks"], by_rule["ranks"])
        for label, by_rule in found.items()
        if label.endswith("as right")
    ]
    half = [np.full(len(rl["tens"][0]), 0.5)] * len(SEEDS)
    control = mean_effect("rule of training, reinforcement learning above a half", rl["tens"], half)
    plot = IntervalPlot("Sums that nothing has shown", "right", bars)
    header = ["trained by", "right, rule of training", "right, other rule", "steps", "trained tokens"]
    return Conclusion(Table(header, table), [plot], primary, control)


FINDING = Finding(
    number="13",
    name="memorise-generalise",
    claim="Fine-tuning memorises, reinforcement learning generalises to a rule that training did not have.",
    source="Dataset and SFT (lecture), after Chu et al. 2025, arXiv 2501.17161",
    published="Text cards under another rule: RL from 11.5 to 15.0%, fine-tuning to 3.4%. Against it: arXiv 2510.00237 "
    "finds that prompts which never change make the difference.",
    setup="A character model (3 layers, width 128) reads worked additions, then answers sums of a number and a card, "
    f"with the values of the cards stated (J, Q, K = 10; {START_SHARE:.0%} of the sums, 40 steps). From there it is "
    f"fine-tuned for {SFT_STEPS} steps on nine tenths of the sums under that rule, or under a drawn rule each, or "
    f"trained by GRPO under that rule ({STEPS} steps of 16 groups of 8, a verifier of the result), {len(SEEDS)} "
    "seeds. The test has the other sums under the rule of training, and those and others with J, Q, K = 11, 12, 13. "
    "Fine-tuning may lose a rule that it knew early, so that it is compared at the first of its kept steps that is "
    "right under the rule of training as often as reinforcement learning with the same seed, or at its end.",
    folder="cards",
    recipe=RECIPE,
    quick=QUICK,
    measure=measure,
    minutes=15,
)
