"""Checkpoints: the trained weights, the optimizer and the data state after a step, enough to resume bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.batching.loader import DataState
from tutelage.files import read_json, resolve_folder, write_json
from tutelage.model.hub import load_tensors, save_tensors
from tutelage.model.weights import load_trained_state, trained_state
from tutelage.train.distributed import (
    broadcast_object,
    distribute_like,
    full_tensor,
    is_main_process,
    load_shards,
    save_shards,
    saved_shapes,
    shared_folder,
    world_size,
)
from tutelage.train.optimizers import Optimizer
from tutelage.train.row_orders import in_model_order, in_stored_order, orders_of

MODEL_FILE, OPTIMIZER_FILE, STATE_FILE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class TrainState:
    """How far a stage has come. `data` is the state of its training data, a JSON value; `fingerprint` names the stage;
    `tokens`, `trained_tokens` and `seconds` were spent on training so far."""

    step: int
    data: DataState
    fingerprint: str
    tokens: int = 0
    trained_tokens: float = 0.0
    seconds: float = 0.0


def save_checkpoint(folder: Path, model: torch.nn.Module, optimizer: Optimizer, state: TrainState) -> None:
    """Replace the checkpoint in `folder`; a reader finds the old or the new one, never half of one. All processes must
    call it, and each writes what it holds; any number of processes can resume from it."""
    with shared_folder(folder) as temporary:
        if world_size() == 1:
            save_tensors(temporary / MODEL_FILE, trained_state(model))
            save_tensors(temporary / OPTIMIZER_FILE, optimizer.state_tensors())
        else:
            tensors = trained_state(model) | optimizer.state_tensors()
            save_shards(temporary, _reordered(tensors, model, in_model_order))
        if is_main_process():
            write_json(temporary / STATE_FILE, asdict(state))


def load_checkpoint(folder: Path, model: torch.nn.Module, optimizer: Optimizer, fingerprint: str) -> TrainState | None:
    """Load the checkpoint in `folder`. None, and nothing changed, where there is none or it is another stage's.

    Raises:
        ValueError: it is incomplete, or not of this model.
    """
    folder = Path(broadcast_object(str(resolve_folder(folder))))
    plain = broadcast_object(_read_state(folder, fingerprint) if is_main_process() else None)
    if plain is None:
        return None
    if world_size() == 1 and (folder / MODEL_FILE).exists():
        device = str(next(model.parameters()).device)
        load_trained_state(model, load_tensors(folder / MODEL_FILE, device))
        optimizer.load_state_tensors(load_tensors(folder / OPTIMIZER_FILE, device))
    else:
        own = trained_state(model)
        shapes = {name: shape for name, shape in saved_shapes(folder).items() if name not in own}
        state = optimizer.blank_state(shapes)
        load_shards(folder, own | state)
        with torch.no_grad():
            for name, tensor in _reordered(own, model, in_stored_order).items():
                if tensor is not own[name]:
                    own[name].copy_(tensor)
        optimizer.load_state_tensors(_reordered(state, model, in_stored_order))
    return TrainState(**plain)


def _reordered(
    tensors: dict[str, torch.Tensor],
    model: torch.nn.Module,
    reorder: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Weights and optimizer state with the rows of shared matrices in another order: files have the model's own, so
    that any layout can resume them."""
    orders, changed = orders_of(model), dict(tensors)
    for name, tensor in tensors.items():
        order = orders.get(name.partition("/")[0])
        if order is not None and tensor.ndim:  # not AdamW's count of steps
            changed[name] = distribute_like(reorder(full_tensor(tensor), order), tensor)
    return changed


def find_train_state(folder: Path, fingerprint: str) -> TrainState | None:
    """How far the stage of this fingerprint has come by the checkpoint in `folder`; None where it has none there."""
    plain = _read_state(resolve_folder(folder), fingerprint)
    return None if plain is None else TrainState(**plain)


def _read_state(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    plain = read_json(folder / STATE_FILE) if (folder / STATE_FILE).exists() else None
    return plain if plain is not None and plain["fingerprint"] == fingerprint else None
