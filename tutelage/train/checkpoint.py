"""Where a run stands: model, optimizer and data position after a step, enough to go on bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tutelage.batching.loader import State, state_from_plain, state_to_plain
from tutelage.files import atomic_folder, read_json, resolve_folder, write_json
from tutelage.model.hub import load_tensors, save_tensors
from tutelage.train.optimizers import Optimizer

MODEL, OPTIMIZER, POSITION = "model.safetensors", "optimizer.safetensors", "position.json"


@dataclass(frozen=True)
class Position:
    """How far a run has come; `fingerprint` names the run, `tokens`, `graded` and `seconds` what it has spent."""

    step: int
    data: State
    fingerprint: str
    tokens: int = 0
    graded: float = 0.0
    seconds: float = 0.0


def save_checkpoint(folder: Path, model: torch.nn.Module, optimizer: Optimizer, position: Position) -> None:
    """Replace the checkpoint in `folder`; a reader finds the old or the new one, never half of one."""
    with atomic_folder(folder) as temporary:
        save_tensors(temporary / MODEL, model.state_dict())
        save_tensors(temporary / OPTIMIZER, optimizer.state_tensors())
        plain = {
            "step": position.step,
            "data": state_to_plain(position.data),
            "fingerprint": position.fingerprint,
            "tokens": position.tokens,
            "graded": position.graded,
            "seconds": position.seconds,
        }
        write_json(temporary / POSITION, plain)


def load_checkpoint(folder: Path, model: torch.nn.Module, optimizer: Optimizer, fingerprint: str) -> Position | None:
    """Take up the checkpoint in `folder`. None, and nothing changed, where there is none or it is another run's."""
    folder = resolve_folder(folder)
    if not (folder / POSITION).exists():
        return None
    plain = read_json(folder / POSITION)
    if plain["fingerprint"] != fingerprint:
        return None
    device = str(next(model.parameters()).device)
    model.load_state_dict(load_tensors(folder / MODEL, device))
    optimizer.load_state_tensors(load_tensors(folder / OPTIMIZER, device))
    return Position(
        step=plain["step"],
        data=state_from_plain(plain["data"]),
        fingerprint=fingerprint,
        tokens=plain["tokens"],
        graded=plain["graded"],
        seconds=plain["seconds"],
    )
