"""A stream of training data over stores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tutelage.batching.loader import Change, DataState, WeightedStore, batch_sizes, batches, count_steps, read_cursors
from tutelage.batching.store import Store
from tutelage.progress import status
from tutelage.stages.stream import DataStream, StepBatches
from tutelage.stages.train_stage import TrainStage, micro_tokens
from tutelage.train.layout import data_rank, data_world_size

# Fewer steps than these train next to nothing.
FEWEST_STEPS = 3


def store_stream(
    stage: TrainStage, label: str, datasets: Mapping[str, WeightedStore], change: Change | None = None
) -> DataStream:
    """A stream over stores, mixed by their shares of the trained tokens. `change` as in `loader.batches`.

    Raises:
        ValueError: a store is empty.
    """
    for name, dataset in datasets.items():
        dataset.store.ledger.check()
        if not len(dataset.store):
            raise ValueError(f"stage {label}: nothing is left to train on in '{name}'; see its ledger")
    longest = max(dataset.store.longest for dataset in datasets.values())
    own = sum(int(one.store.tokens_G.sum()) for name, one in datasets.items() if not name.startswith("replay."))
    step_tokens, steps = stage.step_tokens(own, longest), stage.steps
    plan = stage.batch_plan(own, longest)
    if steps is None:
        assert stage.epochs is not None
        steps = count_steps(datasets, plan, stage.seed, stage.epochs, stage.batch_rows)
        if warning := few_steps_warning(label, steps):
            status(warning)

    def stream(state: DataState, endless: bool) -> StepBatches:
        return batches(
            datasets,
            batch_tokens=plan,
            micro_tokens=micro_tokens(stage, longest),
            seed=stage.seed,
            epochs=None if endless else stage.epochs,
            state=state,
            rank=data_rank(),
            ranks=data_world_size(),
            batch_rows=stage.batch_rows,
            share=stage.reads in ("preferences", "rankings"),  # answers to one prompt
            change=change,
        )

    main = next(iter(datasets))
    sizes = None if isinstance(plan, int) else batch_sizes(datasets, plan, stage.seed, stage.epochs, steps)
    return DataStream(
        names=tuple(datasets),
        longest=longest,
        steps=steps,
        step_tokens=step_tokens if sizes is None else max(sizes),
        batch_tokens=sizes,
        batches=stream,
        epoch=lambda state: read_cursors(state)[main].epoch if state else 0,
        describe=partial(_describe, datasets),
    )


def few_steps_warning(label: str, steps: int) -> str:
    """A sentence where a stage has so few optimizer steps that it can learn next to nothing; else ""."""
    if steps >= FEWEST_STEPS:
        return ""
    count = "1 optimizer step" if steps == 1 else f"{steps} optimizer steps"
    return (
        f"stage {label}: {count} in all, too few to learn from; give it smaller steps (batch_rows = 8) or more epochs"
    )


def _describe(datasets: Mapping[str, WeightedStore], state: DataState) -> dict[str, Any]:
    cursors = read_cursors(state)
    groups = {name: len(dataset.store) for name, dataset in datasets.items()}
    return {
        "epochs": {name: round(c.epoch + c.position / groups[name], 4) for name, c in cursors.items()},
        "trained_by_dataset": {name: cursor.trained_tokens for name, cursor in cursors.items()},
        "ledgers": {name: dataset.store.ledger.to_dict() for name, dataset in datasets.items()},
        "stores": {name: store_name(dataset.store) for name, dataset in datasets.items()},
    }


def store_name(store: Store) -> str:
    """A store's folder below the run's data folder."""
    return f"{store.folder.parent.name}/{store.folder.name}"
