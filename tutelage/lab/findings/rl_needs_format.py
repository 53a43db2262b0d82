"""Reinforcement learning needs the format that fine-tuning teaches: from the base model there is no reward."""

from __future__ import annotations

from tutelage.lab.base_recipe import SEEDS
from tutelage.lab.effects import mean_effect, rate_effect
from tutelage.lab.estimates import Estimate, pooled
from tutelage.lab.finding import Bar, Conclusion, Finding, IntervalPlot, Table
from tutelage.lab.run_cache import RunCache

STEPS = 40
STARTS = {"the base model": "base", "the fine-tuned model": "chat"}
STAGES = {start: [f"grpo_{start}_{seed}" for seed in SEEDS] for start in STARTS.values()}
# As recipes/grpo_arithmetic.toml.
BASE = """\
name      = "lab"
model     = { depth = 3, width = 128, context = 96 }
tokenizer = { kind = "char", data = ["texts", "chats"] }

[data]
texts = { kind = "sums", share = 0.2 }
chats = { kind = "sums-chat", share = 0.12, steps = 0.3 }
tasks = { kind = "sums-tasks", start = 0.2 }

[stages.base]
kind         = "pretrain"
data         = { texts = 1 }
held_out     = 0.0
steps        = 200
batch_tokens = 4096
lr           = 3e-3
optimizer    = { kind = "muon" }

[stages.chat]
kind         = "sft"
from         = "base"
data         = { chats = 1 }
held_out     = 0.0
epochs       = 4
batch_tokens = 2048
keep         = "last"
lr           = 1e-3
optimizer    = { kind = "adamw" }
"""


def grpo_stage(name: str, start: str, seed: int, steps: int = STEPS, data: str = "tasks") -> str:
    """A line for [stages] of a recipe: GRPO with a verifier of the result."""
    return (
        f'{name} = {{ kind = "grpo", from = "{start}", data = {{ {data} = 1 }}, steps = {steps}, prompts = 16, '
        'rewards = { right = { kind = "verifier", verifier = "numeric" } }, group_size = 8, max_tokens = 56, '
        f'lr = 3e-4, seed = {seed}, schedule = {{ kind = "constant", warmup = 0.05 }} }}'
    )


LINES = [grpo_stage(name, start, seed) for start, names in STAGES.items() for seed, name in enumerate(names)]
EVALUATE = "\n".join(f'{name} = ["tasks"]' for names in STAGES.values() for name in names)
RECIPE = f"{BASE}\n[stages]\n{chr(10).join(LINES)}\n\n[evaluate]\n{EVALUATE}\n"
QUICK = (
    "model.depth=1", "model.width=32", "stages.base.steps=2", "stages.chat.epochs=1",
    *(f"stages.{name}.{change}" for names in STAGES.values() for name in names
      for change in ("steps=1", "prompts=2", "max_tokens=8", "held_out=0.01")),
)  # fmt: skip


def measure(runs: RunCache) -> Conclusion:
    """Held-out sums that are answered right, before and after, by what training started from."""
    run = runs.run(RECIPE, "grpo")
    table: list[list[str | Estimate]] = []
    bars = []
    for label, start in STARTS.items():
        before, after, cut = (
            pooled([run.outcomes(stage, f"tasks.{name}") for stage in STAGES[start]])
            for name in ("right_before", "right", "cut_off")
        )
        table.append([label, before, after, cut])
        bars += [Bar(label, "before", before), Bar(label, "after", after)]
    base, chat = STAGES.values()
    primary = rate_effect(run, "right after, from the fine-tuned minus from the base", "tasks.right", chat, base)
    at_first = [run.outcomes(stage, "tasks.right_before") for stage in chat]
    end = [run.outcomes(stage, "tasks.right") for stage in chat]
    gained = mean_effect(
        "right, after minus before, from the fine-tuned",
        [one.astype(float) for one in end],
        [one.astype(float) for one in at_first],
    )
    header = ["training starts from", "right before", "right after", "cut off after"]
    return Conclusion(Table(header, table), [IntervalPlot("Sums that no stage saw", "right", bars)], [primary], gained)


FINDING = Finding(
    number="N18",
    name="rl-needs-format",
    claim="Reinforcement learning needs the format that fine-tuning teaches: from the base model there is no reward.",
    source="Dataset and SFT (lecture), after arXiv 2501.17161",
    published="Without fine-tuning before it, RL fails: the model does not follow the format of the answers.",
    setup="A character model (3 layers, width 128, 0.6M parameters) reads worked two-digit additions as text. GRPO "
    f"with a verifier of the result ({STEPS} steps of 16 groups of 8, lr 3e-4, {len(SEEDS)} seeds) starts from it, "
    "or from the same model fine-tuned on questions with answers. The base has read how sums are worked out, but has "
    "never seen a turn. 810 sums that no stage has seen are asked greedily.",
    folder="grpo",
    recipe=RECIPE,
    quick=QUICK,
    measure=measure,
    minutes=12,
)
