"""How many faults planted in small real runs of reinforcement learning `tutelage doctor` diagnoses correctly.

    python benchmarks/doctor_rl.py [--quick] [--folder DIR] [--record FILE] [--seed N]

A character model learns to repeat words from answers of which half are wrong; then policies are trained on a verifier,
some of them well and each of the others with a fault. Prints the table of docs/doctor.md and a JSON line. --record
writes the metrics of the runs, which tests/doctor/test_policies.py diagnoses again without training. --quick trains a
few of the policies. A full run takes a few minutes on one core.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from common import argument_parser, print_result
from doctor import Planted, Table, short

from tutelage import progress
from tutelage.config import convert
from tutelage.doctor.case import Case
from tutelage.doctor.diagnose import OF_POLICIES, cases_of, diagnose
from tutelage.recipe import Recipe, check_recipe
from tutelage.rl.rewards import Sample
from tutelage.runner import Run

EXACT = {"kind": "verifier", "verifier": "exact"}
FIRST_LETTER = {"kind": "verifier", "verifier": {"kind": "regex", "pattern": "^(.)"}}
RIGHT, GOLD = {"right": EXACT}, {"right": {**EXACT, "weight": 0.0}}
LETTERS = "abcdefgh"
WORDS = [first + second for first in LETTERS for second in LETTERS]
HELD_OUT_EVERY, REPEATS = 5, 40


def pays_for_length(sample: Sample) -> float:
    """A proxy without a limit: the characters of an answer."""
    return float(len(sample.text))


def pays_for_a(sample: Sample) -> float:
    """A proxy with a flaw: right or not, an "a" is worth one."""
    return float(sample.text.count("a"))


def mostly_abstains(sample: Sample) -> float | None:
    """As a grader that times out for most answers."""
    right = float(sample.text.strip() == str(sample.gold))
    return right if sum(map(ord, sample.text + sample.prompt[-1].text)) % 4 == 0 else None


def write_data(folder: Path) -> None:
    """Words to repeat, of which half are repeated wrong; and prompts: those, impossible ones, and a few with answers
    that nothing leads to."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    pairs = [(word, word if draw.random() < 0.5 else draw.choice(WORDS)) for _ in range(REPEATS) for word in WORDS]
    draw.shuffle(pairs)
    (folder / "text.txt").write_text("".join(f"say {word}: {word}.\n" for word, _ in pairs))
    prompts = [{"prompt": f"say {word}", "answer": word} for word in WORDS]
    held_out = prompts[::HELD_OUT_EVERY]
    train = [row for row in prompts if row not in held_out]
    arbitrary = [{**row, "answer": draw.choice(LETTERS)} for row in prompts]
    files = {
        "chat": [{"prompt": f"say {word}", "completion": answer} for word, answer in pairs],
        "tasks": train,
        "held_out": held_out,
        "impossible": [{**row, "answer": f"{row['answer']} {row['answer']}"} for row in train],
        "few": arbitrary[1::25],
        "few_held_out": arbitrary[::HELD_OUT_EVERY],
    }
    for name, made in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))


BASE = {
    "kind": "pretrain", "data": {"text": 1.0}, "held_out": 0.0, "steps": 200, "batch_tokens": 1024, "lr": 1e-2,
    "optimizer": {"kind": "muon"},
}  # fmt: skip
CHAT = {
    "kind": "sft", "from": "base", "data": {"chat": 1.0}, "held_out": 0.0, "epochs": 2, "batch_tokens": 1024,
    "lr": 5e-3, "optimizer": {"kind": "muon"},
}  # fmt: skip
POLICY: dict[str, Any] = {
    "kind": "grpo", "from": "chat", "data": {"tasks": 1.0}, "rewards": RIGHT, "steps": 40, "prompts": 16,
    "group_size": 8, "max_tokens": 6, "lr": 5e-4, "optimizer": {"kind": "adamw"},
    "schedule": {"kind": "constant", "warmup": 0.0}, "evaluate_every": 10,
}  # fmt: skip
PPO = {**POLICY, "kind": "ppo", "prompts": 128, "group_size": 1, "steps": 120}
# Each differs from a healthy policy in the listed settings.
STAGES: dict[str, dict[str, Any]] = {
    "base": BASE,
    "chat": CHAT,
    "healthy": POLICY,
    "healthy-seed": {**POLICY, "seed": 5, "lr": 3e-4, "steps": 60},
    "healthy-rloo": {**POLICY, "estimator": "rloo", "kl": 0.05, "steps": 60},
    "healthy-ppo": PPO,
    "cap": {**POLICY, "max_tokens": 1},
    "impossible": {**POLICY, "data": {"impossible": 1.0}},
    "saturated": {**POLICY, "from": "healthy", "seed": 1},
    "unparsable": {
        **POLICY, "rewards": {"right": {**EXACT, "verifier": {"kind": "regex", "pattern": "answer is (.+)"}}},
    },
    "abstains": {**POLICY, "rewards": {"mine": {"kind": "function", "name": "doctor_rl:mostly_abstains"}}},
    "lr-high": {**POLICY, "lr": 5e-2},
    "lr-low": {**POLICY, "lr": 1e-7},
    "cold": {**POLICY, "temperature": 0.05},
    "pairs": {**POLICY, "group_size": 2, "prompts": 64},
    "hacked": {
        **POLICY, "rewards": {**GOLD, "letter": {"kind": "function", "name": "doctor_rl:pays_for_a"}}, "steps": 60,
    },
    "long": {
        **POLICY, "rewards": {"letters": {"kind": "function", "name": "doctor_rl:pays_for_length"}}, "max_tokens": 24,
    },
    "strong-kl": {**POLICY, "kl": 50.0},
    "clipped": {**POLICY, "minibatches": 4, "inner_epochs": 6, "lr": 4e-3, "steps": 120},
    "blind-value": {**PPO, "value_weight": 1e-6, "value_clip": 1e-4},
    "memorised": {
        **POLICY, "data": {"few": 1.0}, "rewards": {"right": FIRST_LETTER}, "steps": 150, "prompts": 4,
        "group_size": 16,
    },
}  # fmt: skip
QUICK = ("base", "chat", "healthy", "cap", "lr-high", "cold")
PLANTED = [
    Planted("nothing", "", "words", "healthy"),
    Planted("nothing, another seed, a lower learning rate", "", "words", "healthy-seed"),
    Planted("nothing, RLOO with a divergence", "", "words", "healthy-rloo"),
    Planted("nothing, PPO", "", "words", "healthy-ppo"),
    Planted("answers of one token", "cap-too-low", "words", "cap"),
    Planted("gold answers that nothing leads to", "never-rewarded", "words", "impossible"),
    Planted("prompts that are all solved", "all-solved", "words", "saturated"),
    Planted("a verifier that reads another form", "reward-unparsable", "words", "unparsable"),
    Planted("a grader that abstains for three of four answers", "rewards-missing", "words", "abstains"),
    Planted("100 times the right learning rate", "policy-collapsed", "words", "lr-high"),
    Planted("a learning rate of 1e-7", "policy-unmoved", "words", "lr-low"),
    Planted("samples at temperature 0.05", "samples-alike", "words", "cold"),
    Planted("groups of two samples", "group-too-small", "words", "pairs"),
    Planted("a proxy that pays for one letter", "reward-hacked", "words", "hacked"),
    Planted("a proxy that pays for length", "length-exploited", "words", "long"),
    Planted("a divergence factor of 50", "kl-too-strong", "words", "strong-kl"),
    Planted("24 steps on each rollout", "rollout-overused", "words", "clipped"),
    Planted("a value head that hardly learns", "value-head-blind", "words", "blind-value"),
    Planted("four prompts, 150 epochs", "prompts-memorised", "words", "memorised"),
]


READ = {
    "step", "reward", "reward_std", "no_signal", "kl", "entropy", "clipped", "value_loss", "response_length",
    "samples_abstained", "eval.reward",
}  # fmt: skip


def recipe(folder: Path, seed: int, quick: bool) -> Recipe:
    """The recipe of all runs."""
    prompts = {"kind": "prompts", "held_out": str(folder / "held_out.jsonl")}
    others = {"few": {"held_out": str(folder / "few_held_out.jsonl")}}
    stages = {name: {"seed": seed, **settings} for name, settings in STAGES.items() if not quick or name in QUICK}
    files = {name for stage in stages.values() if stage.get("rewards") for name in stage["data"]}
    settings = {
        "name": "words",
        "model": {"depth": 2, "width": 64, "context": 64},
        "tokenizer": {"kind": "char", "data": ["text", "chat"]},
        "data": {
            "text": {"kind": "text", "path": str(folder / "text.txt")},
            "chat": {"kind": "chat", "path": str(folder / "chat.jsonl")},
            **{
                name: {**prompts, **others.get(name, {}), "path": str(folder / f"{name}.jsonl")}
                for name in sorted(files)
            },
        },
        "stages": stages,
        "seed": seed,
    }
    checked = convert(settings, Recipe, "words")
    check_recipe(checked, "words")
    return checked


def thin(case: Case) -> Case:
    """A case without the long parts that the doctor does not read."""
    rows = [
        {name: short(value) for name, value in row.items() if isinstance(value, int | float) and is_read(name)}
        for row in case.stage.log
    ]
    info = msgspec.structs.replace(case.stage.info, environment={})
    stage = replace(case.stage, folder=Path("."), log=rows, evals=[], samples=[], info=info, outcomes={}, bits={})
    return replace(case, stage=stage)


def is_read(name: str) -> bool:
    """Whether the doctor reads this figure of the log."""
    return name in READ or name.startswith(("reward.", "outcome.", "no_signal.", "finish.length"))


def main() -> None:
    parser = argument_parser()
    parser.add_argument("--folder", type=Path, help="keep the runs here; finished stages are not trained again")
    parser.add_argument("--record", type=Path, help="write the metrics of the runs to this JSONL file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    progress.set_mode("plain")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        write_data(folder)
        run = Run(recipe(folder, arguments.seed, arguments.quick), folder / "run")
        run.run()
        found = {case.stage.name: thin(case) for case in cases_of(run)}
    table, lines = Table(), []
    planted_here = [planted for planted in PLANTED if planted.stage in found]
    for planted in planted_here:
        case = found[planted.stage]
        table.add(planted, [diagnosis.name for diagnosis in diagnose(case)])
        lines.append(msgspec.json.encode({"right": planted.right, "what": planted.what, "case": case}, enc_hook=str))
    if arguments.record:
        arguments.record.write_bytes(b"\n".join(lines) + b"\n")
    print("| planted | right | first diagnosis | others |\n|---|---|---|---|", *table.lines, sep="\n")
    print_result(
        "doctor_rl",
        table.right,
        len(planted_here),
        "faults diagnosed correctly",
        quick=arguments.quick,
        against="planted faults",
        other_diagnoses=table.others,
        checks=len(OF_POLICIES),
    )


if __name__ == "__main__":
    main()
