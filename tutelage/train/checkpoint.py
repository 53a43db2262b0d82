"""Where a run stands: what is trained of the model, the optimizer and the data position after a step, enough to go on
bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.batching.loader import State, state_from_plain, state_to_plain
from tutelage.files import read_json, resolve_folder, write_json
from tutelage.model.hub import load_tensors, save_tensors
from tutelage.model.weights import load_trained_state, trained_state
from tutelage.train.distributed import (
    broadcast_object,
    is_main_process,
    load_shards,
    save_shards,
    saved_shapes,
    shared_folder,
    world_size,
)
from tutelage.train.optimizers import Optimizer

MODEL, OPTIMIZER, POSITION = "model.safetensors", "optimizer.safetensors", "position.json"


@dataclass(frozen=True)
class TrainState:
    """How far a run has come; `fingerprint` names the run, `tokens`, `trained` and `seconds` what it has spent."""

    step: int
    data: State
    fingerprint: str
    tokens: int = 0
    trained_tokens: float = 0.0
    seconds: float = 0.0


def save_checkpoint(folder: Path, model: torch.nn.Module, optimizer: Optimizer, position: TrainState) -> None:
    """Replace the checkpoint in `folder`; a reader finds the old or the new one, never half of one. Of many processes
    each writes what it holds, and all must call it; any number of processes can take it up."""
    plain = {
        "step": position.step,
        "data": state_to_plain(position.data),
        "fingerprint": position.fingerprint,
        "tokens": position.tokens,
        "trained_tokens": position.trained_tokens,
        "seconds": position.seconds,
    }
    with shared_folder(folder) as temporary:
        if world_size() == 1:
            save_tensors(temporary / MODEL, trained_state(model))
            save_tensors(temporary / OPTIMIZER, optimizer.state_tensors())
        else:
            save_shards(temporary, trained_state(model) | optimizer.state_tensors())
        if is_main_process():
            write_json(temporary / POSITION, plain)


def load_checkpoint(folder: Path, model: torch.nn.Module, optimizer: Optimizer, fingerprint: str) -> TrainState | None:
    """Take up the checkpoint in `folder`. None, and nothing changed, where there is none or it is another run's.

    Raises:
        ValueError: it is not whole, or not of this model.
    """
    folder = Path(broadcast_object(str(resolve_folder(folder))))
    plain = broadcast_object(_read_position(folder, fingerprint) if is_main_process() else None)
    if plain is None:
        return None
    if world_size() == 1 and (folder / MODEL).exists():
        device = str(next(model.parameters()).device)
        load_trained_state(model, load_tensors(folder / MODEL, device))
        optimizer.load_state_tensors(load_tensors(folder / OPTIMIZER, device))
    else:
        own = trained_state(model)
        shapes = {name: shape for name, shape in saved_shapes(folder).items() if name not in own}
        state = optimizer.blank_state(shapes)
        load_shards(folder, own | state)
        optimizer.load_state_tensors(state)
    return _position(plain)


def find_train_state(folder: Path, fingerprint: str) -> TrainState | None:
    """How far the run of this fingerprint has come by the checkpoint in `folder`; None where it has none there."""
    plain = _read_position(resolve_folder(folder), fingerprint)
    return None if plain is None else _position(plain)


def _read_position(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    plain = read_json(folder / POSITION) if (folder / POSITION).exists() else None
    return plain if plain is not None and plain["fingerprint"] == fingerprint else None


def _position(plain: Mapping[str, Any]) -> TrainState:
    return TrainState(
        step=plain["step"],
        data=state_from_plain(plain["data"]),
        fingerprint=plain["fingerprint"],
        tokens=plain["tokens"],
        trained_tokens=plain["trained_tokens"],
        seconds=plain["seconds"],
    )
