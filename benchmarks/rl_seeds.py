"""Recipes of preferences and reinforcement learning over several seeds: each figure with its mean and 95% interval over
seeds (Student's t).

| recipe | what it must show |
|---|---|
| grpo_arithmetic | GRPO takes sums that no stage has seen from below 40% to above 80% right |
| preferences_world | DPO raises true utility; the reward model reaches 95% of the noise ceiling; best of n |
| rlhf | PPO raises true utility with the divergence in its reward |
| rlhf_no_kl | without it the proxy rises and true utility falls |
| ptx | PPO-ptx forgets less than PPO at equal reward |

Finished stages of --folder are not trained again, so a killed measurement goes on. --quick: one seed, and stages of a
few steps, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import CHECKOUT, argument_parser

from tutelage.evaluate.statistics import T_95

POINTS = 20  # rewards at which two curves are compared

# (folder of a run, its summary) -> the figure.
Read = Callable[[Path, dict[str, Any]], float]


def figure(name: str) -> Read:
    """A figure of summary.json."""
    return lambda folder, summary: float(summary[name])


def difference(after: str, before: str) -> Read:
    """The difference of two figures of summary.json."""
    return lambda folder, summary: float(summary[after]) - float(summary[before])


def first_to_last(stage: str, name: str) -> Read:
    """How much a figure of a stage's log rose from the first to the last evaluation."""

    def read(folder: Path, summary: dict[str, Any]) -> float:
        values = [row[name] for row in log_of(folder, stage) if name in row]
        return float(values[-1] - values[0])

    return read


def log_of(folder: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / stage / "train.jsonl").read_text().splitlines()]


def saved_by_replay(folder: Path, summary: dict[str, Any]) -> float:
    """By how much the loss on pre-training text of PPO is above that of PPO-ptx at equal reward of held-out prompts, in
    nats: the mean over the rewards that both reach."""
    curves = []
    for stage in ("ppo", "ptx"):
        rows = [row for row in log_of(folder, stage) if "eval.reward" in row]
        curves.append(
            (np.array([row["eval.reward"] for row in rows]), np.array([row["base_held_out.world"] for row in rows]))
        )
    return gap_at_equal_reward(*curves)


def gap_at_equal_reward(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """The mean difference of the losses of two curves (rewards, losses) at the rewards that both reach; NaN where there
    are none. A curve takes the loss of the first evaluation that reached a reward."""
    firsts = []
    for rewards, losses in (one, other):
        best = np.maximum.accumulate(rewards)
        new = np.concatenate([[True], best[1:] > best[:-1]])
        firsts.append((best[new], losses[new]))
    low = max(float(rewards[0]) for rewards, _ in firsts)
    high = min(float(rewards[-1]) for rewards, _ in firsts)
    if low >= high:
        return math.nan
    grid = np.linspace(low, high, POINTS)
    losses = [np.interp(grid, *curve) for curve in firsts]
    return float((losses[0] - losses[1]).mean())


class Experiment(NamedTuple):
    """A recipe with overrides; its figures; and overrides that make it short."""

    recipe: str
    overrides: tuple[str, ...]
    figures: dict[str, Read]
    quick: tuple[str, ...]


TASKS, UTILITY = "evaluate.reasoner.tasks", "utility.held_out"
SHORT = (
    "data.world.versions=1", "data.answers.rows=80", "data.pairs.rows=120", "stages.base.epochs=1",
    "stages.chat.epochs=1", "stages.scorer.epochs=1",
)  # fmt: skip
RLHF = {
    "true utility, gain of PPO": figure(f"evaluate.policy.{UTILITY}.gain.true.mean"),
    "proxy, gain of PPO": figure(f"evaluate.policy.{UTILITY}.gain.proxy.mean"),
    "reward of held-out prompts, gain": first_to_last("policy", "eval.reward"),
    "reward model, share of the noise ceiling": figure("evaluate.scorer.preferences.share_of_ceiling.mean"),
}
QUICK_POLICY = ("stages.policy.steps=4", "stages.policy.prompts=8", "stages.policy.evaluate_every=2",
                "stages.policy.save_every=2")  # fmt: skip
EXPERIMENTS = {
    "grpo_arithmetic": Experiment(
        "grpo_arithmetic",
        (),
        {
            "right before GRPO": figure(f"{TASKS}.right_before.rate"),
            "right after GRPO": figure(f"{TASKS}.right.rate"),
            "gain": difference(f"{TASKS}.right.rate", f"{TASKS}.right_before.rate"),
        },
        ("stages.base.steps=20", "stages.chat.epochs=1", "stages.reasoner.steps=2", "stages.reasoner.prompts=4"),
    ),
    "preferences_world": Experiment(
        "preferences_world",
        (),
        {
            "true utility, gain of DPO": figure(f"evaluate.better.{UTILITY}.gain.true.mean"),
            "proxy, gain of DPO": figure(f"evaluate.better.{UTILITY}.gain.proxy.mean"),
            "reward model, accuracy": figure("evaluate.scorer.preferences.accuracy.rate"),
            "reward model, share of the noise ceiling": figure("evaluate.scorer.preferences.share_of_ceiling.mean"),
        },
        (*SHORT, "data.ranked.rows=60", "stages.better.save_every=2"),
    ),
    "rlhf": Experiment("rlhf", (), RLHF, (*SHORT, "data.questions.rows=60", *QUICK_POLICY)),
    "rlhf_no_kl": Experiment(
        "rlhf", ("stages.policy.kl=0.0",), RLHF, (*SHORT, "data.questions.rows=60", *QUICK_POLICY)
    ),
    "ptx": Experiment(
        "ptx",
        (),
        {
            "loss on text that replay saves at equal reward": saved_by_replay,
            "loss on text, rise of PPO": first_to_last("ppo", "base_held_out.world"),
            "loss on text, rise of PPO-ptx": first_to_last("ptx", "base_held_out.world"),
            "reward of held-out prompts, gain of PPO": first_to_last("ppo", "eval.reward"),
            "reward of held-out prompts, gain of PPO-ptx": first_to_last("ptx", "eval.reward"),
        },
        (*SHORT, "data.questions.rows=60",
         *(f"stages.{s}.{o}" for s in ("ppo", "ptx") for o in ("steps=4", "prompts=8", "evaluate_every=2"))),
    ),
}  # fmt: skip


def run(name: str, seed: int, folder: Path, quick: bool) -> tuple[Path, dict[str, Any]]:
    """The folder and the summary of an experiment with a seed, run or finished before."""
    experiment, out = EXPERIMENTS[name], folder / f"{name}-{seed}"
    overrides = [f"seed={seed}", *experiment.overrides, *(experiment.quick if quick else ())]
    recipe = CHECKOUT / "recipes" / f"{experiment.recipe}.toml"
    command = [sys.executable, "-m", "tutelage", "run", str(recipe), f"out={out}", *overrides]
    subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    return out, json.loads((out / "summary.json").read_text())


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """The mean with its 95% interval by Student's t; of one seed without an interval."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return {}
    mean = float(np.mean(known))
    if len(known) < 2:
        return {"mean": mean}
    half = T_95[len(known) - 2] * float(np.std(known, ddof=1)) / math.sqrt(len(known))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def main() -> None:
    parser = argument_parser()
    parser.add_argument("--folder", type=Path, help="keep the runs here; finished stages are not trained again")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=sorted(EXPERIMENTS), nargs="+", default=list(EXPERIMENTS))
    arguments: argparse.Namespace = parser.parse_args()
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    lines, rows = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        for name in arguments.only:
            runs = [run(name, seed, folder, arguments.quick) for seed in seeds]
            for label, read in EXPERIMENTS[name].figures.items():
                values = [read(*one) for one in runs]
                found = over_seeds(values)
                shown = f"{found['mean']:.4g}" if found else "none"
                if "low" in found:
                    shown += f" ({found['low']:.4g} to {found['high']:.4g})"
                rows.append([name, label, *(f"{value:.4g}" for value in values), shown])
                lines.append({"name": f"rl_seeds.{name}", "figure": label, "seeds": values, **found})
    print("|", " | ".join(["recipe", "figure", *(f"seed {seed}" for seed in seeds), "mean (95%)"]), "|")
    print("|---" * (3 + len(seeds)) + "|")
    for row in rows:
        print("|", " | ".join(row), "|")
    for line in lines:
        print(json.dumps({**line, **({"quick": True} if arguments.quick else {})}))


if __name__ == "__main__":
    main()
