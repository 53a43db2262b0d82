"""An LSTM and an n-gram model beside a finished stage of pre-training: the same data, the same held-out text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from tutelage.batching.datasets import SplitStore
from tutelage.batching.packing import collate, pack, to_device, uncollate
from tutelage.batching.store import Store
from tutelage.corpus.quality.ngrams import ORDER, NgramModel, train_ngrams
from tutelage.evaluate.statistics import ratio_of_sums
from tutelage.files import read_json
from tutelage.model.hub import load_model
from tutelage.model.lstm import Lstm, initialise_lstm, lstm_parameters, lstm_width
from tutelage.model.sizes import parameter_count
from tutelage.progress import status, track
from tutelage.runner import Run
from tutelage.stages.base import STAGE
from tutelage.stages.train_stage import MICRO_TOKENS, TrainStage, set_up
from tutelage.train.loop import StepReport, train
from tutelage.train.optimizers import Optimizer, OptimizerSettings
from tutelage.train.schedule import make_schedule

LSTM_LR = 3e-3


@dataclass(frozen=True, eq=False, slots=True)
class Baseline:
    """The held-out losses of a model in nats.

    parameters: of a neural model; None of the n-gram model.
    losses:     for each segment the loss at every token, float64 [length]; NaN where a token is not predicted, such as
                the first. A token's position is the number of tokens before it.
    """

    name: str
    parameters: int | None
    losses: list[np.ndarray]

    def by_position(self, first: int, stop: int) -> float:
        """The mean loss at positions from `first` up to `stop`; NaN where there are none."""
        values = np.concatenate([row[first:stop] for row in self.losses])
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


@dataclass(frozen=True, eq=False, slots=True)
class Compared:
    """A finished stage of pre-training to compare with: its parameters, its vocabulary and the tokens that it read, its
    text, and its own losses."""

    run: Run
    name: str
    vocab: int
    tokens: int
    stores: SplitStore
    transformer: Baseline


def compared_stage(run: Run, name: str) -> Compared:
    """A stage and its held-out losses.

    Raises:
        ValueError: the stage is no pre-training on one data set, or has no held-out text.
    """
    stage, at = run.trained_stage(name), run.context(name)
    if stage.reads != "documents" or stage.parent is not None or len(stage.data) != 1:
        raise ValueError(f"stage {name} is not pre-training on one data set from random weights; name such a stage")
    checkpoint = load_model(at.folder)
    config = checkpoint.model.config
    context = stage.context or config.context
    stores = at.stores(stage.held_out).text(next(iter(stage.data)), checkpoint.tokenizer, context)
    if not len(stores.held_out):
        raise ValueError(f"stage {name} has no held-out text; set held_out in the recipe")
    own = Baseline("transformer", parameter_count(config), model_losses(checkpoint.model, stores.held_out))
    return Compared(run, name, config.vocab, read_json(at.folder / STAGE)["tokens"], stores, own)


def lstm_baseline(stage: Compared, layers: int, lr: float) -> Baseline:
    """An LSTM of at most as many parameters as the stage's model, trained with AdamW on the same batches with the same
    schedule."""
    assert stage.transformer.parameters is not None
    width = lstm_width(stage.vocab, layers, stage.transformer.parameters)
    lstm = initialise_lstm(Lstm(stage.vocab, width, layers), stage.run.recipe.seed)
    train_lstm(stage.run.trained_stage(stage.name), stage.run, stage.name, lstm, lr)
    losses = model_losses(lstm, stage.stores.held_out)
    return Baseline("LSTM", lstm_parameters(stage.vocab, width, layers), losses)


def ngram_baseline(stage: Compared, order: int) -> Baseline:
    """Counts of n-grams with Kneser-Ney smoothing, from as many tokens of the training text as the stage read, or all
    of it where that is less."""
    status(f"counting n-grams up to order {order}")
    text = drawn_segments(stage.stores.train, stage.tokens, stage.run.recipe.seed)
    ngrams = train_ngrams(text, stage.vocab, order)
    return Baseline(f"{order}-gram", None, ngram_losses(ngrams, stage.stores.held_out, stage.transformer.losses))


def drawn_segments(store: Store, tokens: int, seed: int) -> list[np.ndarray]:
    """The tokens of segments drawn at random, each once, until there are as many tokens, or all."""
    segments = _segments(store)
    order = np.random.default_rng(seed).permutation(len(segments))
    before = np.cumsum([0, *(len(segments[place]) for place in order[:-1])])
    return [segments[place] for place in order[before < tokens]]


def compare_baselines(
    run: Run, name: str, *, order: int = ORDER, layers: int = 2, lr: float = LSTM_LR
) -> list[Baseline]:
    """The transformer of a finished stage, an LSTM and n-grams.

    Raises:
        ValueError: as `compared_stage`.
    """
    stage = compared_stage(run, name)
    return [stage.transformer, lstm_baseline(stage, layers, lr), ngram_baseline(stage, order)]


def train_lstm(stage: TrainStage, run: Run, name: str, lstm: Lstm, lr: float) -> None:
    """Train an LSTM on the batches of a stage, in the one training loop."""
    setup = set_up(stage, run.context(name))
    lstm.to(setup.checkpoint.model.embedding.weight.device)
    optimizer, steps = Optimizer(lstm, OptimizerSettings(), lr), setup.stream.steps
    with track(f"LSTM of {name}", steps, "steps", 0) as bar:

        def advance(report: StepReport) -> None:
            bar.update(1, {"loss": report.metrics.means()["loss"]})

        train(
            lstm, optimizer, setup.stream.batches(None, False), setup.loss, start=0, steps=steps,
            lr=make_schedule(stage.schedule, steps), hooks=[advance],
        )  # fmt: skip


@torch.inference_mode()
def model_losses(model: nn.Module, store: Store) -> list[np.ndarray]:
    """The loss of a model at every token of every segment; see `Baseline`."""
    device = next(model.parameters()).device
    losses: dict[int, np.ndarray] = {}
    for row in pack(store.tokens_G.tolist(), max(MICRO_TOKENS, store.longest)):
        batch = to_device(collate([store.group(i) for i in row]), device)
        values_N = torch.full(batch.weights_N.shape, torch.nan, dtype=torch.float64, device=device)
        values_N[batch.weights_N != 0] = -model(batch).double()
        losses.update(zip(row, uncollate(batch, values_N.cpu().numpy(), np.nan), strict=True))
    return [losses[i] for i in range(len(store))]


def ngram_losses(ngrams: NgramModel, store: Store, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The loss of an n-gram model at the tokens that have one in `like`, the losses of another model."""
    segments = _segments(store)
    ends = np.cumsum([len(tokens) + 1 for tokens in segments])  # the last entry of each is the end of the segment
    rows = np.split(-ngrams.log_probabilities(segments), ends[:-1])
    return [np.where(np.isfinite(other), row[:-1], np.nan) for row, other in zip(rows, like, strict=True)]


def _segments(store: Store) -> list[np.ndarray]:
    """The tokens of every segment; a document is a group of one."""
    return [store.group(i)[0].tokens for i in range(len(store))]


def comparison(models: Sequence[Baseline]) -> dict[str, Any]:
    """Loss per token, the relative change from the first model with its 95% interval over segments, and the loss by
    position."""
    sums = [np.array([np.nansum(row) for row in model.losses]) for model in models]
    tokens = sum(int(np.isfinite(row).sum()) for row in models[0].losses)
    longest = max(map(len, models[0].losses))
    edges = [*(2**power for power in range(longest.bit_length()) if 2**power < longest), longest]
    rows = []
    for model, own in zip(models, sums, strict=True):
        change, low, high = ratio_of_sums(own, sums[0])
        rows.append(
            {
                "name": model.name,
                "parameters": model.parameters,
                "loss": float(own.sum() / tokens),
                "change": {"value": change, "low": low, "high": high},
                "by_position": [model.by_position(a, b) for a, b in pairwise(edges)],
            }
        )
    return {"models": rows, "positions": edges, "unit": "nats per token", "tokens": tokens}


def comparison_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A comparison as lines of text."""
    yield f"held-out loss, {result['unit']}, {result['tokens']:,} tokens"
    for row in result["models"]:
        change, size = row["change"], f", {row['parameters']:,} parameters" if row["parameters"] else ""
        beside = "" if row is result["models"][0] else (
            f", {change['value']:+.1%} (95%: {change['low']:+.1%} to {change['high']:+.1%})"
        )  # fmt: skip
        yield f"  {row['name']}{size}: {row['loss']:.4f}{beside}"
    yield "by the number of tokens before"
    for number, (first, stop) in enumerate(pairwise(result["positions"])):
        losses = ", ".join(f"{row['name']} {row['by_position'][number]:.3f}" for row in result["models"])
        yield f"  {first} to {stop - 1}: {losses}"
