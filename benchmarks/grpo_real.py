"""GRPO with a verifier on a published chat model: small sums, and whether GSM8K would give a signal.

Sums: additions and subtractions of numbers up to 20, 20% held out by a hash of the prompt. The share of held-out sums
that the model answers right, greedily, before and after GRPO with LoRA, with 95% intervals; the mean reward of
samples in the first and the last tenth of the rollouts; wall time and peak memory.

GSM8K: 8 samples of each of some problems; pass@1 and pass@8 (unbiased, arXiv 2107.03374) with 95% intervals over the
problems, and the share of groups without signal by reason. GRPO on it is of use only where pass@8 reaches 10%.

There is no peer: the JSON lines carry the figures. --quick: 2 steps and 2 problems, whose figures mean little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from common import CHECKOUT, argument_parser

SAMPLES, LORA_RANK = 8, 16


def write_sums(path: Path, highest: int) -> int:
    """Additions and subtractions of numbers up to `highest`; returns how many there are. Of two-digit ones the model of
    135M parameters gets hardly any right, so that few groups would have a signal."""
    rows = []
    for left in range(1, highest + 1):
        for right in range(1, highest + 1):
            for sign, result in (("+", left + right), ("-", left - right)):
                if result >= 0:
                    prompt = f"What is {left} {sign} {right}? Answer with the number only."
                    rows.append({"prompt": prompt, "answer": str(result)})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(rows)


def train(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """GRPO on sums; what its summary and log say."""
    sums, out = folder / "sums.jsonl", folder / "sums"
    rows = write_sums(sums, 6 if arguments.quick else 20)
    steps, prompts = (2, 2) if arguments.quick else (arguments.steps, arguments.prompts)
    command = [
        sys.executable, "-m", "tutelage", "grpo", "--model", str(arguments.model), "--data", str(sums), "--reward",
        "numeric", "--out", str(out), "--steps", str(steps), "--prompts", str(prompts), "--group-size", str(SAMPLES),
        "--max-tokens", "16", "--lora", str(LORA_RANK), "stages.grpo.held_out=0.2", "stages.grpo.evaluate_every=0",
        f"stages.grpo.lr={arguments.lr}", f"seed={arguments.seed}",
    ]  # fmt: skip
    began = time.monotonic()
    subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((out / "summary.json").read_text())
    log = [json.loads(line) for line in (out / "grpo" / "train.jsonl").read_text().splitlines()]
    info = json.loads((out / "grpo" / "stage.json").read_text())
    tenth = max(1, len(log) // 10)
    rewards = [row["reward"] for row in log]
    figures = {name: summary[f"evaluate.grpo.tasks.{name}"] for name in names(summary)}
    return {
        "name": "grpo_real.sums", "rows": rows, "steps": steps, **figures,
        "reward_first": float(np.mean(rewards[:tenth])), "reward_last": float(np.mean(rewards[-tenth:])),
        "no_signal_first": float(np.mean([row["no_signal"] for row in log[:tenth]])),
        "training_seconds": info["seconds"], "wall_seconds": time.monotonic() - began,
        "peak_rss_bytes": info["peak_rss_bytes"],
    }  # fmt: skip


def names(summary: dict[str, Any]) -> list[str]:
    """Rates of the suite "tasks" with their intervals, before and after."""
    return [
        f"{name}.{part}" for name in ("right_before", "right", "cut_off_before", "cut_off")
        for part in ("rate", "low", "high") if f"evaluate.grpo.tasks.{name}.{part}" in summary
    ]  # fmt: skip


def gsm8k(arguments: argparse.Namespace) -> dict[str, Any]:
    """Samples of the model's answers to problems, by the verifier that GRPO would use."""
    from tutelage.chat import make_renderer
    from tutelage.engine.sampling import SamplingSettings
    from tutelage.intervals import mean_interval
    from tutelage.ledger import Ledger
    from tutelage.model.hub import load_model
    from tutelage.rl.advantages import pass_at_k
    from tutelage.rl.figures import no_signal_reason
    from tutelage.rl.prompts import DrawnPrompt, prompt_set
    from tutelage.rl.reward_settings import VerifierReward
    from tutelage.rl.rewards import Rewards, Sources
    from tutelage.rl.sampling import Sampler
    from tutelage.stages.data import tasks
    from tutelage.stages.data_files import Prompts

    problems, max_tokens = (2, 48) if arguments.quick else (arguments.problems, arguments.max_tokens)
    checkpoint = load_model(arguments.model)
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    rows = list(tasks("gsm8k", {"gsm8k": Prompts(path=str(arguments.gsm8k), gold_after="####")}))
    random = np.random.default_rng(arguments.seed)
    chosen = [rows[place] for place in sorted(random.permutation(len(rows))[:problems].tolist())]
    room = checkpoint.model.config.context - max_tokens
    prompts = prompt_set("gsm8k", chosen, renderer, room, 0.0, Ledger("gsm8k")).train
    rewards = Rewards({"right": VerifierReward(verifier="numeric")}, Sources([p.task.gold for p in prompts]))
    settings = SamplingSettings(temperature=1.0, max_tokens=max_tokens, seed=arguments.seed)
    sampler = Sampler(renderer, rewards, settings, SAMPLES)
    drawn = [DrawnPrompt("gsm8k", prompt, number) for number, prompt in enumerate(prompts)]
    groups = list(sampler.groups(checkpoint.model, drawn))
    right = [sum(row.parts["right"][1] == "right" for row in group) for group in groups]
    found = {f"pass@{k}": mean_interval(np.array([pass_at_k(SAMPLES, c, k) for c in right])) for k in (1, SAMPLES)}
    reasons = Counter(no_signal_reason(group) for group in groups)
    none = 1 - reasons.pop("", 0) / len(groups)
    return {
        "name": "grpo_real.gsm8k", "problems": len(groups), "samples": SAMPLES, "max_tokens": max_tokens, **found,
        "no_signal": none, "reasons": {reason: count / len(groups) for reason, count in sorted(reasons.items())},
        "cut_off": float(np.mean([row.cut_off for group in groups for row in group])),
        "worth_training": found[f"pass@{SAMPLES}"]["mean"] >= 0.1,
    }  # fmt: skip


def main() -> None:
    parser = argument_parser()
    parser.add_argument("--model", type=Path, required=True, help="folder of a published chat model")
    parser.add_argument("--gsm8k", type=Path, help="GSM8K's training rows (question, answer); left out: sums only")
    parser.add_argument("--only", choices=("sums", "gsm8k"), nargs="+", default=["sums", "gsm8k"])
    parser.add_argument("--folder", type=Path, help="keep the run here; a killed one goes on")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--prompts", type=int, default=16, help="prompts of a rollout of sums")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--problems", type=int, default=50, help="problems of GSM8K")
    parser.add_argument("--max-tokens", type=int, default=256, help="tokens of an answer to GSM8K")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [train(arguments, folder)] if "sums" in arguments.only else []
    if arguments.gsm8k is not None and "gsm8k" in arguments.only:
        lines.append(gsm8k(arguments))
    for line in lines:
        print(json.dumps({**line, **({"quick": True} if arguments.quick else {})}))


if __name__ == "__main__":
    main()
