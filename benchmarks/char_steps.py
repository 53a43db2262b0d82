"""Optimizer steps per second of a character model: our loop, a short hand-written loop and transformers' Trainer.

All train the same architecture (4 blocks, width 64, 4 heads, context 64, vocabulary 65, learned positions, LayerNorm,
GELU, biases, untied head) in float32 on the same text: 32 crops of 64 characters per step, AdamW, gradients clipped at
1.0. The main peer is the hand-written loop; --quick runs only ours and it.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import Measurement, argument_parser, measure_in_turn, print_comparison
from torch import nn

DEPTH, WIDTH, HEADS, CONTEXT, BATCH, VOCABULARY = 4, 64, 4, 64, 32, 65
LR, CLIP = 1e-3, 1.0
WARMUP, STEPS = 40, 400
QUICK_WARMUP, QUICK_STEPS = 20, 100
MAIN_PEER = "loop"


def steps_to_run(quick: bool) -> tuple[int, int]:
    """Steps before the clock starts, and all steps."""
    warmup, steps = (QUICK_WARMUP, QUICK_STEPS) if quick else (WARMUP, STEPS)
    return warmup, warmup + steps


def steps_per_second(stamps: list[float], warmup: int) -> float:
    """Steps per second after warm-up, from the times at which the steps ended."""
    return (len(stamps) - warmup) / (stamps[-1] - stamps[warmup - 1])


def character_ids() -> np.ndarray:
    """About 600,000 characters of the built-in world as ids below 65, the same in every role."""
    from tutelage import tokenizer
    from tutelage.world.society import World, WorldSettings

    text = "\n".join(document.text for document in islice(World(WorldSettings()).documents(), 1500))
    rare = [character for character, _ in Counter(text).most_common()[VOCABULARY - 1 :]]
    text = text.translate({ord(character): " " for character in rare})
    characters = tokenizer.train([text], tokenizer.TokenizerSettings(kind="char"))
    assert characters.vocab_size == VOCABULARY
    return characters.encode(text)


def measure_ours(quick: bool) -> Measurement:
    """Our loop, loader, model and optimizer, on a store of crops as a stage writes it."""
    from tutelage.batching.loader import WeightedStore, batches
    from tutelage.batching.store import write_store
    from tutelage.ledger import Ledger
    from tutelage.model.sizes import ModelSettings, parameter_count, resolve
    from tutelage.model.transformer import Transformer, initialise
    from tutelage.records import Example, ExampleGroup
    from tutelage.train.loop import train
    from tutelage.train.losses import CROSS_ENTROPY
    from tutelage.train.optimizers import Optimizer, OptimizerSettings
    from tutelage.train.schedule import ScheduleSettings, make_schedule

    ids = character_ids()
    ledger = Ledger("crops")

    def crops() -> Iterator[ExampleGroup]:
        # With explicit targets all 64 positions are trained, as in the peers' loops.
        for start in range(0, len(ids) - CONTEXT, CONTEXT):
            ledger.read(tokens=CONTEXT)
            ledger.keep(tokens=CONTEXT)
            yield (Example(ids[start : start + CONTEXT], targets=ids[start + 1 : start + CONTEXT + 1]),)

    settings = ModelSettings(
        depth=DEPTH, width=WIDTH, heads=HEADS, context=CONTEXT, position="learned", norm="layer", mlp="gelu",
        bias=True, tied=False,
    )  # fmt: skip
    model = initialise(Transformer(resolve(settings, VOCABULARY)), seed=0)
    optimizer = Optimizer(model, OptimizerSettings(clip=CLIP), LR)
    warmup, steps = steps_to_run(quick)
    stamps: list[float] = []
    losses: list[float] = []

    with tempfile.TemporaryDirectory() as folder:
        source = WeightedStore(write_store(Path(folder) / "store", crops(), ledger), 1.0)
        stream = batches({"text": source}, batch_tokens=BATCH * CONTEXT, micro_tokens=BATCH * CONTEXT, seed=0)
        train(
            model, optimizer, stream, CROSS_ENTROPY, start=0, steps=steps,
            lr=make_schedule(ScheduleSettings(kind="constant", warmup=0.0), steps),
            hooks=[lambda report: (stamps.append(time.perf_counter()), losses.append(report.metrics.means()["loss"]))],
        )  # fmt: skip
    return {
        "value": steps_per_second(stamps, warmup), "loss": losses[-1], "parameters": parameter_count(model.config),
    }  # fmt: skip


class PlainBlock(nn.Module):
    """A transformer block as a short tutorial writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, HEADS, width // HEADS).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class PlainModel(nn.Module):
    """The same architecture in plain PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(PlainBlock() for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def plain_loop(quick: bool, fused: bool | None) -> Measurement:
    ids = torch.from_numpy(character_ids().astype(np.int64))
    model = PlainModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), fused=fused)
    warmup, steps = steps_to_run(quick)
    stamps: list[float] = []
    for _ in range(steps):
        starts = torch.randint(len(ids) - CONTEXT, (BATCH,))
        x = torch.stack([ids[i : i + CONTEXT] for i in starts])
        y = torch.stack([ids[i + 1 : i + CONTEXT + 1] for i in starts])
        loss = F.cross_entropy(model(x).view(-1, VOCABULARY), y.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        stamps.append(time.perf_counter())
    return {
        "value": steps_per_second(stamps, warmup), "loss": float(loss.detach()),
        "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip


def measure_loop(quick: bool) -> Measurement:
    """The training loop of a short tutorial script."""
    return plain_loop(quick, fused=None)


def measure_fused_loop(quick: bool) -> Measurement:
    """The same loop with PyTorch's fused AdamW, which is not the default."""
    return plain_loop(quick, fused=True)


def measure_trainer(quick: bool) -> Measurement:
    """GPT-2 of the same size under transformers' Trainer, without dropout, logging, evaluation and checkpoints."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    ids = torch.from_numpy(character_ids().astype(np.int64))
    crops = [ids[start : start + CONTEXT] for start in range(0, len(ids) - CONTEXT, CONTEXT)]
    rows = [{"input_ids": crop, "labels": crop} for crop in crops]
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS,
        activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        tie_word_embeddings=False, use_cache=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    warmup, steps = steps_to_run(quick)
    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            stamps.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, use_cpu=True, max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=LR,
            adam_beta2=0.95, max_grad_norm=CLIP, lr_scheduler_type="constant", logging_strategy="no",
            save_strategy="no", eval_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        output = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Clock()]).train()
    return {
        "value": steps_per_second(stamps, warmup), "loss": output.training_loss,
        "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip


if __name__ == "__main__":
    roles = {
        "ours": measure_ours,
        "transformers Trainer": measure_trainer,
        "loop, fused AdamW": measure_fused_loop,
        MAIN_PEER: measure_loop,
    }
    arguments = argument_parser(rounds=5, quick_rounds=3).parse_args()
    if arguments.quick:
        roles = {role: roles[role] for role in ("ours", MAIN_PEER)}
    measured = measure_in_turn(roles, arguments, unit="steps/s")
    sizes = {measurement["parameters"] for rounds in measured.values() for measurement in rounds}
    assert len(sizes) == 1, f"the models differ in size: {sizes}"
    print_comparison(measured, arguments, name="char_steps", unit="steps/s", main_peer=MAIN_PEER)
