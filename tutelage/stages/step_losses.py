"""The rows of a training step that are unlike those of the steps around: which of them made its loss jump?

Where weights of an earlier step were kept, such rows have a high loss under these. The finished model may have learned
them, and repeated characters then have a low loss. So rows count by how far they lie from others in either direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from tutelage.batching.packing import segment_sum, to_device
from tutelage.model.hub import Checkpoint, load_model
from tutelage.records import Batch
from tutelage.stages.base import StageContext
from tutelage.stages.kept import kept_folder, kept_steps
from tutelage.stages.train_stage import TrainStage, set_up
from tutelage.tokenizer import Tokenizer

AROUND = 3  # steps on each side whose rows say what is usual


@dataclass(frozen=True)
class RowLoss:
    """A segment of a step: its text, its trained tokens, its loss in nats per trained token, and how many median
    absolute deviations that lies from the rows of the steps around."""

    text: str
    tokens: int
    nats_per_token: float
    deviations: float = 0.0


def model_before(folder: Path, step: int) -> tuple[Checkpoint, str]:
    """The weights of a stage that were kept last before a step, and which those are; its final ones where none were."""
    earlier = [kept for kept in kept_steps(folder) if kept < step]
    if not earlier:
        return load_model(folder), "the finished model"
    return load_model(kept_folder(folder, earlier[-1])), f"the model of step {earlier[-1]}"


def unlike_rows(stage: TrainStage, at: StageContext, step: int, checkpoint: Checkpoint) -> list[RowLoss]:
    """The rows of a step, those that are least like the rows of the steps around first."""
    setup, first = set_up(stage, at), max(1, step - AROUND)
    own: list[RowLoss] = []
    others: list[RowLoss] = []
    for number, (micro, _) in enumerate(islice(setup.stream.batches(None, False), first - 1, step + AROUND), first):
        (own if number == step else others).extend(row_losses(checkpoint, micro, setup.checkpoint.tokenizer))
    usual = np.array([row.nats_per_token for row in others or own])
    middle = float(np.median(usual))
    spread = float(np.median(np.abs(usual - middle))) or 1.0
    rows = [replace(row, deviations=abs(row.nats_per_token - middle) / spread) for row in own]
    return sorted(rows, key=lambda row: -row.deviations)


@torch.inference_mode()
def row_losses(checkpoint: Checkpoint, micro: Sequence[Batch], tokenizer: Tokenizer) -> list[RowLoss]:
    """Every segment of a step's micro-batches."""
    found = []
    device = checkpoint.model.embedding.weight.device
    for batch in micro:
        on_device = to_device(batch, device)
        nats_S = -segment_sum(checkpoint.model(on_device).double(), on_device).cpu().numpy()
        bounds = np.cumsum([0, *batch.lengths])
        trained = (batch.weights_N != 0).numpy()
        for nats, begin, end in zip(nats_S.tolist(), bounds[:-1], bounds[1:], strict=True):
            if count := int(trained[begin:end].sum()):
                text = tokenizer.decode(batch.tokens_N[begin:end].tolist())
                found.append(RowLoss(text, count, nats / count))
    return found
