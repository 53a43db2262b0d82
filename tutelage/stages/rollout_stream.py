"""Rollouts as the data of a stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tutelage.rl.prompts import PromptSet, read_cursors
from tutelage.rl.rollouts import RolloutStream
from tutelage.stages.stream import DataStream


def rollout_data_stream(
    rollouts: RolloutStream, sets: Mapping[str, PromptSet], longest: int, steps: int, step_tokens: int
) -> DataStream:
    """The stream of a stage that samples; its first dataset counts the epochs."""
    main = next(iter(sets))

    def attach(live: Callable[[], Any]) -> None:
        rollouts.live = live

    def describe(state: Any) -> dict[str, Any]:
        cursors = read_cursors(state["cursors"], sets)
        ledgers = {name: one.ledger for name, one in sets.items()}
        ledgers |= {name: dataset.store.ledger for name, dataset in rollouts.replay.items()}
        epochs = {name: round(c.epoch + c.position / len(sets[name].train), 4) for name, c in cursors.items()}
        return {
            "epochs": {**dict.fromkeys(ledgers, 0.0), **epochs},
            "trained_by_dataset": {**dict.fromkeys(ledgers, 0.0), **state["trained"]},
            "ledgers": {name: ledger.to_dict() for name, ledger in ledgers.items()},
        }

    return DataStream(
        names=(*sets, *rollouts.replay),
        longest=longest,
        steps=steps,
        step_tokens=step_tokens,
        batches=rollouts.batches,
        epoch=lambda state: read_cursors(state["cursors"], sets)[main].epoch if state else 0,
        describe=describe,
        attach=attach,
        figures=rollouts.figures,
        saving=rollouts.saving,
    )
