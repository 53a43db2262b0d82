"""What every stage over stores is evaluated on during training: held-out losses, and a few samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tutelage.batching.store import Store
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.held_out_loss import group_losses, mean_loss
from tutelage.evaluate.samples import held_out_samples
from tutelage.model.hub import Checkpoint
from tutelage.stages.stream import DataStream
from tutelage.stages.train_stage import TrainStage, micro_tokens

SAMPLES, SAMPLING = 3, SamplingSettings(max_tokens=32)


def evaluate_stores(
    stage: TrainStage, stream: DataStream, held_out: Mapping[str, Store], base_held_out: Mapping[str, Store]
) -> Callable[[Checkpoint], dict[str, Any]]:
    """A function that gives a model's mean loss in nats per trained token on each held-out store that has rows, as
    `held_out.DATA` and, of the base model's text, `base_held_out.DATA`; and `samples`."""
    micro = micro_tokens(stage, stream.longest)

    def evaluate(checkpoint: Checkpoint) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for part, stores in (("held_out", held_out), ("base_held_out", base_held_out)):
            for name, store in stores.items():
                if len(store):
                    figures[f"{part}.{name}"] = mean_loss(group_losses(checkpoint.model, store, micro), store)
        stores_with_rows = [store for store in held_out.values() if len(store)]
        figures["samples"] = [
            row for store in stores_with_rows for row in held_out_samples(checkpoint, store, SAMPLES, SAMPLING)
        ]
        return figures

    return evaluate
