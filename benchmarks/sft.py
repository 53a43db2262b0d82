"""Tokens per second and peak memory of supervised fine-tuning: ours and TRL's SFTTrainer.

All load the same Llama-shaped checkpoint (hidden 256, 6 layers, vocabulary 4096) and the same 2,000 conversations of
log-normal length under a ChatML template, and train the assistant's tokens only: 16 conversations per step, AdamW,
constant learning rate, gradients clipped at 1.0, 2 threads, float32 or `--precision bfloat16`. Padding tokens are not
counted. TRL runs with its defaults (16 padded rows per step, activation checkpointing); without checkpointing; packed
(best-fit decreasing without cross-contamination: rows of 1,024 tokens, one per forward pass, six per step); and grouped
by length, its fastest setting and the main peer. --quick runs ours and the main peer only, 2 steps of warm-up and 8
timed steps, on every fifth batch that the main peer makes of 800 conversations, so its padding is that of a full run.

With `--model DIR` a real checkpoint is trained instead, with LoRA of rank 16 on both sides and 8 rows of GSM8K per step
(of the built-in world where that data is absent); --quick takes 1 step of warm-up and 3 timed steps.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from common import (
    Measurement,
    argument_parser,
    data_folder,
    exit_if_package_missing,
    measure_in_turn,
    print_comparison,
    print_result,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONVERSATIONS, PER_STEP, CONTEXT, VOCABULARY = 2000, 16, 1024, 4096
LR, BETAS, CLIP = 1e-3, (0.9, 0.95), 1.0
WARMUP, STEPS = 4, 46  # 50 in all: TRL sorts by length within 50 batches at a time, the longest first
BATCH_TOKENS = 5576  # the mean of 16 conversations, plus half a conversation that waits for the next step
QUICK_WARMUP, QUICK_STEPS, GROUPED_BATCHES, QUICK_STRIDE = 2, 8, 50, 5
REAL_ROWS, REAL_PER_STEP, REAL_LR, LORA = 240, 8, 2e-4, 16  # with --model
REAL_TOKENS = 1840  # the mean of 8 rows
SMOOTHED = 8  # steps in the running mean of the loss curves
MAIN_PEER = "TRL, grouped"

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}{% else %}"
    "{{ message.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def conversations() -> list[list[dict[str, str]]]:
    """Questions and answers cut from the text of the built-in world. Lengths are log-normal: 16 of them padded to the
    longest are 38% full, and none exceeds the context."""
    from tutelage.world.society import World, WorldSettings

    documents = World(WorldSettings()).documents()
    words = cycle(word for document in islice(documents, 4000) for word in document.text.split())
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(CONVERSATIONS):
        answer = int(np.clip(rng.lognormal(5.0, 1.15), 8, 760))
        turns = int(rng.integers(1, 4))
        row = []
        for _ in range(turns):
            row.append({"role": "user", "content": " ".join(islice(words, int(rng.integers(5, 40))))})
            row.append({"role": "assistant", "content": " ".join(islice(words, max(1, answer // turns)))})
        rows.append(row)
    return rows


def sampled_batches(rows: list[list[dict[str, str]]], tokenizer: Tokenizer) -> list[list[dict[str, str]]]:
    """Every fifth of the 50 batches that transformers' length grouping makes of 800 conversations, in random order."""

    def length(row: list[dict[str, str]]) -> int:
        return sum(len(tokenizer.encode(message["content"]).ids) for message in row)

    grouped = sorted(rows[: GROUPED_BATCHES * PER_STEP], key=length, reverse=True)
    firsts = np.arange(0, len(grouped), QUICK_STRIDE * PER_STEP)
    np.random.default_rng(0).shuffle(firsts)
    return [row for first in firsts for row in grouped[first : first + PER_STEP]]


def write_real_inputs(folder: Path, model: Path) -> None:
    """Questions with answers, and a link to the model."""
    if (path := data_folder() / "gsm8k/train.jsonl.gz").exists():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            pairs = [(row["question"], row["answer"]) for row in map(json.loads, islice(lines, REAL_ROWS))]
    else:
        pairs = [(row[0]["content"], row[1]["content"]) for row in conversations()[:REAL_ROWS]]
    rows = (
        {
            "prompt": [{"role": "user", "content": question}],
            "completion": [{"role": "assistant", "content": answer}],
        }
        for question, answer in pairs
    )
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "model").symlink_to(model.resolve())


def write_inputs(folder: Path, quick: bool) -> None:
    """Write the conversations, and a random model with a tokenizer trained on them as a Hugging Face folder."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    rows = conversations()
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=[AddedToken(name, special=True) for name in SPECIAL],
    )  # fmt: skip
    backend.train_from_iterator((message["content"] for row in rows for message in row), trainer)
    chosen = sampled_batches(rows, backend) if quick else rows
    (folder / "chats.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in chosen))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder / "model")
    set_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=704, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")


def steps_to_run(quick: bool, lora: bool) -> tuple[int, int]:
    """Steps before the clock starts, and all steps."""
    warmup, steps = (QUICK_WARMUP, QUICK_STEPS) if quick else (WARMUP, STEPS)
    if lora:
        warmup, steps = (1, 3) if quick else (2, 20)
    return warmup, warmup + steps


def summary(stamps: list[float], tokens: list[int], losses: list[float], warmup: int) -> Measurement:
    """Non-padding tokens per second after warm-up, from the end time and the number of tokens of each step."""
    from tutelage.process import peak_rss_bytes

    seconds = stamps[-1] - stamps[warmup - 1]
    return {
        "value": sum(tokens[warmup : len(stamps)]) / seconds,
        "rss": peak_rss_bytes(),
        "losses": losses,
        "tokens_per_step": statistics.mean(tokens[: len(stamps)]),
    }


def measure_ours(quick: bool, inputs: Path, precision: str, lora: bool) -> Measurement:
    """An SFT stage as `tutelage sft` runs it: data preparation, loading, packing and the training loop."""
    from tutelage.model.lora import LoraSettings
    from tutelage.model.sizes import ModelSettings
    from tutelage.stages.base import StageContext
    from tutelage.stages.data_files import ChatData
    from tutelage.stages.pretrained_model import PretrainedModel
    from tutelage.stages.sft import Sft
    from tutelage.stages.train_stage import precision_of, set_up
    from tutelage.train.loop import StepReport, train
    from tutelage.train.optimizers import Optimizer, OptimizerSettings
    from tutelage.train.schedule import ScheduleSettings, make_schedule

    warmup, steps = steps_to_run(quick, lora)
    dtype: Literal["bfloat16", "float32"] = "bfloat16" if precision == "bfloat16" else "float32"
    stage = Sft(
        parent="base", data={"chat": 1.0}, steps=steps, batch_tokens=REAL_TOKENS if lora else BATCH_TOKENS,
        held_out=0.0, lr=REAL_LR if lora else LR, keep="last", precision=dtype,
        lora=LoraSettings(rank=LORA, base_dtype=dtype) if lora else None,
        optimizer=OptimizerSettings(betas=BETAS, clip=CLIP), schedule=ScheduleSettings(kind="constant", warmup=0.0),
    )  # fmt: skip
    base = PretrainedModel(path=str(inputs / "model"))
    stamps: list[float] = []
    tokens: list[int] = []
    losses: list[float] = []

    def clock(report: StepReport) -> None:
        stamps.append(time.perf_counter())
        tokens.append(report.tokens)
        losses.append(report.metrics.means()["loss"])

    with tempfile.TemporaryDirectory() as folder:
        at = StageContext(
            name="sft", folder=Path(folder), cache=Path(folder), seed=0, model=ModelSettings(),
            data={"chat": ChatData(path=str(inputs / "chats.jsonl"))}, stages={"base": base, "sft": stage},
            folders={"base": inputs / "model"}, tokenizer=inputs / "model",
        )  # fmt: skip
        setup = set_up(stage, at)
        optimizer = Optimizer(setup.checkpoint.model, stage.optimizer, setup.lr)
        train(
            setup.checkpoint.model, optimizer, setup.stream.batches(None, False), setup.loss,
            start=0, steps=steps, lr=make_schedule(stage.schedule, steps), hooks=[clock],
            precision=precision_of(stage, setup.checkpoint.model),
        )  # fmt: skip
    return summary(stamps, tokens, losses, warmup)


def measure_trl(quick: bool, inputs: Path, precision: str, lora: bool, **options: Any) -> Measurement:
    """`SFTTrainer` with these options."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    warmup, steps = steps_to_run(quick, lora)
    stamps: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            stamps.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        rows = load_dataset("json", data_files=str(inputs / "chats.jsonl"), cache_dir=folder, split="train")
        settings: dict[str, Any] = {"per_device_train_batch_size": REAL_PER_STEP if lora else PER_STEP, **options}
        adapter = LoraConfig(r=LORA, lora_alpha=32, target_modules="all-linear") if lora else None
        dtype = precision if lora else "float32"  # of the weights; frozen ones may be narrow
        arguments = SFTConfig(
            output_dir=folder, use_cpu=True, max_steps=steps, max_length=CONTEXT, assistant_only_loss=not lora,
            bf16=precision == "bfloat16", learning_rate=REAL_LR if lora else LR,
            adam_beta1=BETAS[0], adam_beta2=BETAS[1], max_grad_norm=CLIP, weight_decay=0.0,
            lr_scheduler_type="constant", warmup_steps=0, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, dataloader_pin_memory=False, model_init_kwargs={"dtype": dtype}, **settings,
        )  # fmt: skip
        trainer = SFTTrainer(
            model=str(inputs / "model"), args=arguments, train_dataset=rows, callbacks=[Clock()], peft_config=adapter
        )
        collate, rows_per_step = trainer.data_collator, arguments.gradient_accumulation_steps

        def counting(examples: list[dict[str, Any]]) -> Mapping[str, Any]:
            tokens.append(sum(len(example["input_ids"]) for example in examples))
            return collate(examples)

        trainer.data_collator = counting
        trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    in_steps = [sum(tokens[at : at + rows_per_step]) for at in range(0, len(tokens), rows_per_step)]
    return summary(stamps, in_steps, losses, warmup)


def smoothed(losses: list[float]) -> np.ndarray:
    return np.convolve(losses, np.ones(SMOOTHED) / SMOOTHED, mode="valid")


def print_losses(measured: Mapping[str, list[Measurement]]) -> None:
    """Print the loss curves of the first round, and the largest distance of each peer's running mean from ours."""
    ours = measured["ours"][0]["losses"]
    for role, rounds in measured.items():
        losses = rounds[0]["losses"]
        distance = ""
        if min(len(losses), len(ours)) >= SMOOTHED:
            largest = abs(smoothed(losses) - smoothed(ours)).max()
            distance = f"; running means of {SMOOTHED} differ from ours by at most {largest:.3f}"
        print(f"loss, {role}: {' '.join(f'{loss:.2f}' for loss in losses)}{distance}")


def print_memory(measured: Mapping[str, list[Measurement]], arguments: argparse.Namespace) -> None:
    """Print a JSON line of the peak memory per peer."""
    peaks = {
        role: statistics.median(measurement["rss"] for measurement in rounds) / 1e6 for role, rounds in measured.items()
    }
    ours, *peers = peaks
    for peer in peers:
        print_result(
            f"sft.memory.{arguments.precision}",
            peaks[ours],
            peaks[peer],
            "MB",
            quick=arguments.quick,
            lower_is_better=True,
            against=peer,
        )


def roles(arguments: argparse.Namespace) -> dict[str, Any]:
    options = {"inputs": arguments.inputs, "precision": arguments.precision, "lora": arguments.model is not None}
    trl = partial(measure_trl, **options)
    grouping = "sequential" if arguments.quick else "group_by_length"  # quick inputs are in grouped batches already
    uncheckpointed = partial(trl, gradient_checkpointing=False)
    all_roles = {
        "ours": partial(measure_ours, **options),
        "TRL, padded": trl,
        "TRL, padded, no checkpointing": uncheckpointed,
        "TRL, packed": partial(
            uncheckpointed, packing=True, per_device_train_batch_size=1, gradient_accumulation_steps=6
        ),
        MAIN_PEER: partial(uncheckpointed, train_sampling_strategy=grouping),
    }
    return {role: all_roles[role] for role in ("ours", MAIN_PEER)} if arguments.quick else all_roles


def main() -> None:
    parser = argument_parser(rounds=3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--model", type=Path, metavar="DIR", help="a real checkpoint, trained with LoRA on both sides")
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)  # for the child processes
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.inputs is None:
            arguments.inputs = Path(scratch)
            with exit_if_package_missing():
                if arguments.model:
                    write_real_inputs(arguments.inputs, arguments.model)
                else:
                    write_inputs(arguments.inputs, arguments.quick)
        measured = measure_in_turn(
            roles(arguments), arguments, unit="tokens/s", child_options=["--inputs", str(arguments.inputs)]
        )
    print_losses(measured)
    print_memory(measured, arguments)
    print_comparison(measured, arguments, name=f"sft.{arguments.precision}", unit="tokens/s", main_peer=MAIN_PEER)


if __name__ == "__main__":
    main()
