"""Completions per second and peak memory of GRPO: ours and TRL's GRPOTrainer.

Both load the same Llama-shaped checkpoint (hidden 256, 6 layers, vocabulary 4096) and the same prompts of log-normal
length under a ChatML template, and learn from the same reward: 8 completions of each of 8 prompts per step, at most 128
tokens at temperature 1, advantages over the group's standard deviation, one step per rollout, no divergence, AdamW,
constant learning rate, gradients clipped at 1.0, 2 threads; products in float32 or, with `--precision bfloat16`, in
bfloat16 on both sides. A step is timed from its prompts to its update,
after a step of warm-up. The reward counts one letter, so that neither side waits for a grader. A model of random
weights hardly ever ends a completion: both sides sample the full 128 tokens.

TRL samples with transformers; its vLLM needs a GPU. It runs with its defaults (activation checkpointing, 8 completions
a forward pass), and without checkpointing and with all completions of a step in one pass, its fastest setting here and
the main peer. --quick: 3 steps of 4 prompts, ours and the main peer only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
from common import (
    Measurement,
    argument_parser,
    exit_if_package_missing,
    measure_in_turn,
    print_comparison,
    print_result,
)
from sft import write_inputs

from tutelage.train.loop import Precision

GROUP, PROMPTS, QUICK_PROMPTS, MAX_TOKENS = 8, 8, 4, 128
STEPS, QUICK_STEPS, WARMUP = 8, 3, 1
LR, BETAS, CLIP = 1e-5, (0.9, 0.95), 1.0
LETTER = "e"
MAIN_PEER = "TRL, no checkpointing, one pass"


def letters(text: str) -> float:
    """The reward of both sides: how often a letter occurs."""
    return float(text.count(LETTER))


def letters_of_sample(sample: Any) -> float:
    """The same of one of our samples."""
    return letters(sample.text)


def letters_of_completions(completions: list[Any], **_: Any) -> list[float]:
    """The same of TRL's completions, each a list of messages."""
    return [letters(completion[0]["content"]) for completion in completions]


def write_prompts(folder: Path, count: int) -> None:
    """Questions of log-normal length, cut from the text of the built-in world."""
    from tutelage.world.society import World, WorldSettings

    words = cycle(
        word for document in islice(World(WorldSettings()).documents(), 500) for word in document.text.split()
    )
    rng = np.random.default_rng(2)
    with (folder / "prompts.jsonl").open("w") as file:
        for _ in range(count):
            text = " ".join(islice(words, int(np.clip(rng.lognormal(3.0, 0.8), 3, 120))))
            file.write(json.dumps({"prompt": [{"role": "user", "content": text}]}) + "\n")


def size(quick: bool) -> tuple[int, int]:
    """Prompts of a step, and all steps."""
    return (QUICK_PROMPTS, QUICK_STEPS) if quick else (PROMPTS, STEPS)


def summary(stamps: list[float], rewards: list[float], completions: int) -> Measurement:
    """Completions per second after warm-up."""
    from tutelage.process import peak_rss_bytes

    return {
        "value": completions * (len(stamps) - WARMUP) / (stamps[-1] - stamps[WARMUP - 1]),
        "rss": peak_rss_bytes(),
        "rewards": rewards,
    }


def measure_ours(quick: bool, inputs: Path, precision: Precision) -> Measurement:
    """A GRPO stage as `tutelage grpo` runs it."""
    from tutelage.model.sizes import ModelSettings
    from tutelage.rl.reward_settings import FunctionReward
    from tutelage.stages.base import StageContext
    from tutelage.stages.data_files import Prompts
    from tutelage.stages.grpo import Grpo
    from tutelage.stages.pretrained_model import PretrainedModel
    from tutelage.stages.train_stage import set_up
    from tutelage.train.loop import StepReport, train
    from tutelage.train.optimizers import Optimizer, OptimizerSettings
    from tutelage.train.schedule import ScheduleSettings, make_schedule

    prompts, steps = size(quick)
    stage = Grpo(
        parent="base", data={"prompts": 1.0}, steps=steps, prompts=prompts, group_size=GROUP, max_tokens=MAX_TOKENS,
        held_out=0.0, lr=LR, track_kl=False, precision=precision, optimizer=OptimizerSettings(betas=BETAS, clip=CLIP),
        rewards={"letters": FunctionReward(name="grpo:letters_of_sample")},
        schedule=ScheduleSettings(kind="constant", warmup=0.0),
    )  # fmt: skip
    stamps: list[float] = []
    rewards: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        at = StageContext(
            name="grpo", folder=Path(folder), cache=Path(folder), seed=0, model=ModelSettings(),
            data={"prompts": Prompts(path=str(inputs / "prompts.jsonl"))},
            stages={"base": PretrainedModel(path=str(inputs / "model")), "grpo": stage},
            folders={"base": inputs / "model"}, tokenizer=inputs / "model",
        )  # fmt: skip
        setup = set_up(stage, at)

        def clock(report: StepReport) -> None:
            stamps.append(time.perf_counter())
            rewards.append(setup.stream.figures()["reward"])

        optimizer = Optimizer(setup.checkpoint.model, stage.optimizer, setup.lr)
        train(
            setup.checkpoint.model, optimizer, setup.stream.batches(None, False), setup.loss, start=0, steps=steps,
            lr=make_schedule(stage.schedule, steps), hooks=[clock], precision=precision,
        )  # fmt: skip
    return summary(stamps, rewards, prompts * GROUP)


def measure_trl(quick: bool, inputs: Path, precision: Precision, **options: Any) -> Measurement:
    """`GRPOTrainer` with these options."""
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    prompts, steps = size(quick)
    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            stamps.append(time.perf_counter())

    completions = prompts * GROUP
    batch = options.pop("per_device_train_batch_size", GROUP)
    batch = completions if batch == "all" else batch
    model = AutoModelForCausalLM.from_pretrained(inputs / "model", dtype="float32")
    with tempfile.TemporaryDirectory() as folder:
        rows = load_dataset("json", data_files=str(inputs / "prompts.jsonl"), cache_dir=folder, split="train")
        arguments = GRPOConfig(
            output_dir=folder, use_cpu=True, max_steps=steps, num_generations=GROUP, max_completion_length=MAX_TOKENS,
            temperature=1.0, beta=0.0, bf16=precision == "bfloat16", learning_rate=LR, adam_beta1=BETAS[0],
            adam_beta2=BETAS[1], max_grad_norm=CLIP, weight_decay=0.0, lr_scheduler_type="constant", warmup_steps=0,
            logging_steps=1,
            save_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
            per_device_train_batch_size=batch, gradient_accumulation_steps=completions // batch, **options,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=model, reward_funcs=letters_of_completions, args=arguments, train_dataset=rows, callbacks=[Clock()],
            processing_class=AutoTokenizer.from_pretrained(inputs / "model"),
        )  # fmt: skip
        trainer.train()
    rewards = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    return summary(stamps, rewards, completions)


def print_details(measured: Mapping[str, list[Measurement]], quick: bool) -> None:
    """Print the rewards of the first round, and JSON lines of peak memory."""
    for role, rounds in measured.items():
        print(f"reward, {role}: mean {statistics.mean(rounds[0]['rewards']):.2f} of {len(rounds[0]['rewards'])} steps")
    ours, *peers = measured
    memory = {role: 1e-6 * statistics.median(of["rss"] for of in rounds) for role, rounds in measured.items()}
    for peer in peers:
        print_result("grpo.memory", memory[ours], memory[peer], "MB", quick=quick, lower_is_better=True, against=peer)


def roles(arguments: argparse.Namespace) -> dict[str, Any]:
    trl = partial(measure_trl, inputs=arguments.inputs, precision=arguments.precision)
    all_roles = {
        "ours": partial(measure_ours, inputs=arguments.inputs, precision=arguments.precision),
        "TRL": trl,
        MAIN_PEER: partial(trl, gradient_checkpointing=False, per_device_train_batch_size="all"),
    }
    return {role: all_roles[role] for role in ("ours", MAIN_PEER)} if arguments.quick else all_roles


def main() -> None:
    parser = argument_parser(rounds=3)
    parser.add_argument("--precision", choices=get_args(Precision), default="float32", help="of matrix products")
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)  # for the child processes
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.inputs is None:
            arguments.inputs = Path(scratch)
            with exit_if_package_missing():
                write_inputs(arguments.inputs, quick=False)
            write_prompts(arguments.inputs, PROMPTS * STEPS)
        child_options = ["--inputs", str(arguments.inputs), "--precision", arguments.precision]
        measured = measure_in_turn(roles(arguments), arguments, unit="completions/s", child_options=child_options)
    print_details(measured, arguments.quick)
    print_comparison(measured, arguments, name="grpo", unit="completions/s", main_peer=MAIN_PEER)


if __name__ == "__main__":
    main()
