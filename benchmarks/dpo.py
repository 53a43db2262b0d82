"""Preference pairs per second and peak memory of DPO: ours and TRL's DPOTrainer.

All load the same Llama-shaped checkpoint (hidden 256, 6 layers, vocabulary 4096) and the same pairs of log-normal
length under a ChatML template: sigmoid loss, beta 0.1, 8 pairs per step (ours: as many as fit the mean tokens of 8),
AdamW, constant learning rate, gradients clipped at 1.0, 2 threads, float32. One epoch is measured from the rows to the
last step, the pass of the reference model included; imports are not, nor is TRL's loading of the models. A second line
has the steps alone, after warm-up: there a cached reference costs nothing.

TRL runs with its defaults (activation checkpointing, reference in every step); without checkpointing; and without it
with a cached reference, its fastest setting and the main peer. Its padding-free form is switched off in the version at
hand. --quick: 64 pairs, ours and the main peer only.
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
from typing import Any

import numpy as np
from common import (
    Measurement,
    argument_parser,
    exit_if_package_missing,
    measure_in_turn,
    print_comparison,
    print_result,
)
from sft import CONTEXT, write_inputs

PAIRS, QUICK_PAIRS, PER_STEP = 400, 64, 8
LR, BETA, BETAS, CLIP = 1e-4, 0.1, (0.9, 0.95), 1.0
WARMUP = 2  # steps before the second clock starts
MAIN_PEER = "TRL, cached reference"


def write_pairs(folder: Path, count: int) -> None:
    """Two answers of log-normal length to each question, cut from the text of the built-in world."""
    from tutelage.world.society import World, WorldSettings

    documents = World(WorldSettings()).documents()
    words = cycle(word for document in islice(documents, 4000) for word in document.text.split())
    rng = np.random.default_rng(1)

    def text(mean: float, longest: int) -> str:
        return " ".join(islice(words, int(np.clip(rng.lognormal(mean, 0.8), 3, longest))))

    with (folder / "pairs.jsonl").open("w") as file:
        for _ in range(count):
            row: dict[str, Any] = {"prompt": [{"role": "user", "content": text(2.5, 60)}]}
            row |= {side: [{"role": "assistant", "content": text(4.2, 300)}] for side in ("chosen", "rejected")}
            file.write(json.dumps(row) + "\n")


def summary(stamps: list[float], pairs: list[int], losses: list[float], began: float) -> Measurement:
    """Pairs per second of the epoch and of its steps after warm-up."""
    from tutelage.process import peak_rss_bytes

    return {
        "value": sum(pairs) / (stamps[-1] - began),
        "steps": sum(pairs[WARMUP:]) / (stamps[-1] - stamps[WARMUP - 1]),
        "rss": peak_rss_bytes(),
        "losses": losses,
        "pairs": sum(pairs),
    }


def measure_ours(quick: bool, inputs: Path) -> Measurement:
    """A DPO stage as `tutelage dpo` runs it."""
    from tutelage.model.hub import load_model
    from tutelage.model.sizes import ModelSettings
    from tutelage.stages.base import StageContext
    from tutelage.stages.data_files import PreferenceData
    from tutelage.stages.dpo import Dpo
    from tutelage.stages.pretrained_model import PretrainedModel
    from tutelage.stages.train_stage import set_up
    from tutelage.train.loop import StepReport, train
    from tutelage.train.optimizers import Optimizer, OptimizerSettings
    from tutelage.train.schedule import ScheduleSettings, make_schedule

    tokenizer = load_model(inputs / "model").tokenizer  # reads the files once before the clock starts
    stage = Dpo(
        parent="base", data={"pairs": 1.0}, epochs=1, batch_tokens=batch_tokens(inputs, tokenizer), held_out=0.0, lr=LR,
        beta=BETA, optimizer=OptimizerSettings(betas=BETAS, clip=CLIP),
        schedule=ScheduleSettings(kind="constant", warmup=0.0),
    )  # fmt: skip
    stamps: list[float] = []
    pairs: list[int] = []
    losses: list[float] = []

    def clock(report: StepReport) -> None:
        stamps.append(time.perf_counter())
        pairs.append(int(report.metrics.pairs["margin"][1]))
        losses.append(report.metrics.means()["loss"])

    with tempfile.TemporaryDirectory() as folder:
        at = StageContext(
            name="dpo", folder=Path(folder), cache=Path(folder), seed=0, model=ModelSettings(),
            data={"pairs": PreferenceData(path=str(inputs / "pairs.jsonl"))},
            stages={"base": PretrainedModel(path=str(inputs / "model")), "dpo": stage},
            folders={"base": inputs / "model"}, tokenizer=inputs / "model",
        )  # fmt: skip
        began = time.perf_counter()
        setup = set_up(stage, at)
        optimizer = Optimizer(setup.checkpoint.model, stage.optimizer, setup.lr)
        train(
            setup.checkpoint.model, optimizer, setup.stream.batches(None, False), setup.loss, start=0,
            steps=setup.stream.steps, lr=make_schedule(stage.schedule, setup.stream.steps), hooks=[clock],
        )  # fmt: skip
    return summary(stamps, pairs, losses, began)


def batch_tokens(inputs: Path, tokenizer: Any) -> int:
    """The mean tokens of 8 pairs, plus half a pair that waits for the next step."""
    rows = [json.loads(line) for line in (inputs / "pairs.jsonl").read_text().splitlines()]
    markup = 10  # tokens of the template around prompt and answer
    lengths = []
    for row in rows:
        prompt, *sides = tokenizer.encode_batch([row[name][0]["content"] for name in ("prompt", "chosen", "rejected")])
        lengths.append(sum(len(prompt) + len(side) + markup for side in sides))
    return round((PER_STEP + 0.5) * statistics.mean(lengths))


def measure_trl(quick: bool, inputs: Path, **options: Any) -> Measurement:
    """`DPOTrainer` with these options."""
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            stamps.append(time.perf_counter())

    model, reference = (AutoModelForCausalLM.from_pretrained(inputs / "model", dtype="float32") for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        rows = load_dataset("json", data_files=str(inputs / "pairs.jsonl"), cache_dir=folder, split="train")
        arguments = DPOConfig(
            output_dir=folder, use_cpu=True, num_train_epochs=1, max_length=CONTEXT, beta=BETA, bf16=False,
            learning_rate=LR, adam_beta1=BETAS[0], adam_beta2=BETAS[1], max_grad_norm=CLIP, weight_decay=0.0,
            lr_scheduler_type="constant", warmup_steps=0, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, dataloader_pin_memory=False, per_device_train_batch_size=PER_STEP,
            precompute_ref_batch_size=PER_STEP, **options,
        )  # fmt: skip
        began = time.perf_counter()
        trainer = DPOTrainer(
            model=model, ref_model=reference, args=arguments, train_dataset=rows, callbacks=[Clock()],
            processing_class=AutoTokenizer.from_pretrained(inputs / "model"),
        )  # fmt: skip
        trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    pairs = [min(PER_STEP, len(rows) - PER_STEP * step) for step in range(len(stamps))]
    return summary(stamps, pairs, losses, began)


def print_details(measured: Mapping[str, list[Measurement]], quick: bool) -> None:
    """Print the losses of the first round, and JSON lines of steps alone and of peak memory."""
    for role, rounds in measured.items():
        losses = rounds[0]["losses"]
        print(f"loss, {role}: first {losses[0]:.4f}, mean {statistics.mean(losses):.4f} of {rounds[0]['pairs']} pairs")
    ours, *peers = measured
    for name, key, unit, scale in (("dpo.steps", "steps", "pairs/s", 1.0), ("dpo.memory", "rss", "MB", 1e-6)):
        values = {role: scale * statistics.median(of[key] for of in rounds) for role, rounds in measured.items()}
        for peer in peers:
            lower = key == "rss"
            print_result(name, values[ours], values[peer], unit, quick=quick, lower_is_better=lower, against=peer)


def roles(arguments: argparse.Namespace) -> dict[str, Any]:
    trl = partial(measure_trl, inputs=arguments.inputs)
    all_roles = {
        "ours": partial(measure_ours, inputs=arguments.inputs),
        "TRL": trl,
        "TRL, no checkpointing": partial(trl, gradient_checkpointing=False),
        MAIN_PEER: partial(trl, gradient_checkpointing=False, precompute_ref_log_probs=True),
    }
    return {role: all_roles[role] for role in ("ours", MAIN_PEER)} if arguments.quick else all_roles


def main() -> None:
    parser = argument_parser(rounds=3)
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)  # for the child processes
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.inputs is None:
            arguments.inputs = Path(scratch)
            with exit_if_package_missing():
                write_inputs(arguments.inputs, quick=False)
            write_pairs(arguments.inputs, QUICK_PAIRS if arguments.quick else PAIRS)
        child_options = ["--inputs", str(arguments.inputs)]
        measured = measure_in_turn(roles(arguments), arguments, unit="pairs/s", child_options=child_options)
    print_details(measured, arguments.quick)
    print_comparison(measured, arguments, name="dpo", unit="pairs/s", main_peer=MAIN_PEER)


if __name__ == "__main__":
    main()
