"""Tokens a second, and peak memory, of fine-tuning a checkpoint on conversations: ours against TRL's SFTTrainer.

All load the same Llama-shaped folder (hidden 256, 6 layers, vocabulary 4096) and the same 2,000 long-tailed
conversations under a ChatML template, and grade the assistant's tokens alone: 16 conversations a step, AdamW, a
constant rate, gradients clipped at 1.0, on 2 threads, in float32 or with `--precision bfloat16`. Padding counts for
nothing. TRL runs as it comes (16 padded rows a step, activations checkpointed), then without checkpointing, packed (its
isolated packing, best-fit decreasing: rows of 1,024 tokens, one at a time, six a step), and with like lengths in a
batch, which is its fastest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from common import Measured, measure_in_turn, print_lines

CONVERSATIONS, PER_STEP, CONTEXT, VOCABULARY = 2000, 16, 1024, 4096
LR, BETAS, CLIP = 1e-3, (0.9, 0.95), 1.0
WARMUP, STEPS = 4, 46  # 50 in all: TRL sorts by length within 50 batches at a time, the longest first
BATCH_TOKENS = 5576  # what 16 conversations hold in the mean, and half of the last, which waits for the next step
SMOOTHED = 8  # steps of the loss curves' running mean
FOLDER, PRECISION = "SFT_BENCHMARK_FOLDER", "SFT_BENCHMARK_PRECISION"  # how the parent tells its children

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}{% else %}"
    "{{ message.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def conversations() -> list[list[dict[str, str]]]:
    """Questions and answers cut from the text of the built-in world. Lengths are log-normal: 16 of them padded to the
    longest are 38% full, and none is longer than the context."""
    from tutelage.world.society import World, WorldSettings

    documents = World(WorldSettings()).documents()
    words = cycle(word for document in islice(documents, 4000) for word in document.text.split())
    draw = np.random.default_rng(0)
    rows = []
    for _ in range(CONVERSATIONS):
        answer = int(np.clip(draw.lognormal(5.0, 1.15), 8, 760))
        turns = int(draw.integers(1, 4))
        row = []
        for _ in range(turns):
            row.append({"role": "user", "content": " ".join(islice(words, int(draw.integers(5, 40))))})
            row.append({"role": "assistant", "content": " ".join(islice(words, max(1, answer // turns)))})
        rows.append(row)
    return rows


def write_inputs(folder: Path) -> None:
    """The conversations, and a random model with a tokenizer trained on them, as a Hugging Face folder."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    rows = conversations()
    (folder / "chats.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=[AddedToken(name, special=True) for name in SPECIAL],
    )  # fmt: skip
    backend.train_from_iterator((message["content"] for row in rows for message in row), trainer)
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


def steps_to_run(quick: bool) -> tuple[int, int]:
    """Steps before the clock starts, and all steps."""
    warmup, steps = (1, 2) if quick else (WARMUP, STEPS)
    return warmup, warmup + steps


def summary(stamps: list[float], tokens: list[int], losses: list[float], warmup: int) -> Measured:
    """Non-padding tokens a second after warm-up, from the time each step was done and the tokens it read."""
    from tutelage.process import peak_rss_bytes

    seconds = stamps[-1] - stamps[warmup - 1]
    return {
        "figure": sum(tokens[warmup : len(stamps)]) / seconds,
        "rss": peak_rss_bytes(),
        "losses": losses,
        "tokens_a_step": statistics.mean(tokens[: len(stamps)]),
    }


def measure_ours(quick: bool) -> Measured:
    """A fine-tuning stage as `tutelage sft` makes it: prepared, loaded, packed and trained by its own code."""
    from tutelage.stages.prepare import StageContext, prepare
    from tutelage.stages.settings import PretrainedModel, Sft

    from tutelage.model.sizes import ModelSettings
    from tutelage.stages.data import ChatData
    from tutelage.stages.run import precision_of
    from tutelage.train.loop import StepReport, train
    from tutelage.train.optimizers import Optimizer, OptimizerSettings
    from tutelage.train.schedule import ScheduleSettings, make_schedule

    inputs = Path(os.environ[FOLDER])
    warmup, steps = steps_to_run(quick)
    stage = Sft(
        parent="base", data={"chat": 1.0}, steps=steps, batch_tokens=BATCH_TOKENS, held_out=0.0, lr=LR, keep="last",
        precision="bfloat16" if os.environ[PRECISION] == "bfloat16" else "float32",
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
        prepared = prepare(stage, at)
        optimizer = Optimizer(prepared.checkpoint.model, stage.optimizer, prepared.lr)
        train(
            prepared.checkpoint.model, optimizer, prepared.batches(stage), prepared.loss,
            start=0, steps=steps, lr=make_schedule(stage.schedule, steps), hooks=[clock],
            precision=precision_of(stage, prepared.checkpoint.model),
        )  # fmt: skip
    return summary(stamps, tokens, losses, warmup)


def measure_trl(quick: bool, **options: Any) -> Measured:
    """`SFTTrainer` with these options."""
    from datasets import load_dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    inputs, bf16 = Path(os.environ[FOLDER]), os.environ[PRECISION] == "bfloat16"
    warmup, steps = steps_to_run(quick)
    stamps: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            stamps.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        rows = load_dataset("json", data_files=str(inputs / "chats.jsonl"), cache_dir=folder, split="train")
        settings: dict[str, Any] = {"per_device_train_batch_size": PER_STEP, **options}
        arguments = SFTConfig(
            output_dir=folder, use_cpu=True, max_steps=steps, max_length=CONTEXT, assistant_only_loss=True, bf16=bf16,
            learning_rate=LR, adam_beta1=BETAS[0], adam_beta2=BETAS[1], max_grad_norm=CLIP, weight_decay=0.0,
            lr_scheduler_type="constant", warmup_steps=0, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, dataloader_pin_memory=False, model_init_kwargs={"dtype": "float32"}, **settings,
        )  # fmt: skip
        trainer = SFTTrainer(model=str(inputs / "model"), args=arguments, train_dataset=rows, callbacks=[Clock()])
        collate, rows_a_step = trainer.data_collator, arguments.gradient_accumulation_steps

        def counting(examples: list[dict[str, Any]]) -> Mapping[str, Any]:
            tokens.append(sum(len(example["input_ids"]) for example in examples))
            return collate(examples)

        trainer.data_collator = counting
        trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    in_steps = [sum(tokens[at : at + rows_a_step]) for at in range(0, len(tokens), rows_a_step)]
    return summary(stamps, in_steps, losses, warmup)


def smoothed(losses: list[float]) -> np.ndarray:
    return np.convolve(losses, np.ones(SMOOTHED) / SMOOTHED, mode="valid")


def print_losses(measured: Mapping[str, list[Measured]]) -> None:
    """The loss curves of the first round, and how far each peer's running mean ever is from ours."""
    ours = measured["ours"][0]["losses"]
    for role, rounds in measured.items():
        losses = rounds[0]["losses"]
        apart = ""
        if min(len(losses), len(ours)) >= SMOOTHED:
            apart = (
                f"; running means of {SMOOTHED} at most {abs(smoothed(losses) - smoothed(ours)).max():.3f} from ours"
            )
        print(f"loss, {role}: {' '.join(f'{loss:.2f}' for loss in losses)}{apart}")


def print_memory(measured: Mapping[str, list[Measured]], precision: str) -> None:
    """A JSON line for each peer; a ratio above 1 means that ours takes less."""
    peaks = {role: statistics.median(one["rss"] for one in rounds) / 1e6 for role, rounds in measured.items()}
    for role in list(peaks)[1:]:
        line = {
            "name": f"sft.memory.{precision}", "ours": round(peaks["ours"]), "peer": round(peaks[role]),
            "ratio": round(peaks[role] / peaks["ours"], 3), "unit": "MB", "against": role,
        }  # fmt: skip
        print(json.dumps(line))


def roles() -> dict[str, Any]:
    kept = partial(measure_trl, gradient_checkpointing=False)
    return {
        "ours": measure_ours,
        "TRL, padded": measure_trl,
        "TRL, padded, all kept": kept,
        "TRL, packed": partial(kept, packing=True, per_device_train_batch_size=1, gradient_accumulation_steps=6),
        "TRL, grouped": partial(kept, train_sampling_strategy="group_by_length"),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    asked, sys.argv[1:] = parser.parse_known_args()
    os.environ.setdefault(PRECISION, asked.precision)
    with tempfile.TemporaryDirectory() as folder:
        if "--role" not in sys.argv:
            os.environ[FOLDER] = folder
            write_inputs(Path(folder))
        measured = measure_in_turn(roles(), rounds=3, unit="tokens/s")
    precision = os.environ[PRECISION]
    print_losses(measured)
    print_memory(measured, precision)
    print_lines(measured, name=f"sft.{precision}", unit="tokens/s", binding="TRL, grouped")
