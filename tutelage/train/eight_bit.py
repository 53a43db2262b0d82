"""AdamW with its state in 8 bits, by the library bitsandbytes (Dettmers et al. 2021, arXiv 2110.02861): blocks of 256
numbers share a scale, and each number is a place in a table. Parameters of fewer than 4096 numbers keep float32 state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tutelage import extras
from tutelage.train.distributed import world_size

# The tables by their names in the state and in the optimizer; all parameters have the same, so files have none.
TABLES = {"qmap1": "dynamic", "qmap2": "udynamic"}


def adamw_8bit(groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> Any:
    """The optimizer of bitsandbytes over parameter groups with their own `weight_decay`.

    Raises:
        ValueError: bitsandbytes is not installed, or several processes train.
    """
    if world_size() > 1:
        raise ValueError("optimizer.state_bits = 8 works in one process only; leave it at 32")
    return extras.load("bitsandbytes", "bitsandbytes").optim.AdamW8bit(groups, lr=lr, betas=betas, eps=eps)


def state_to_tensors(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The state of one parameter as a file holds it: without tables, and its step as a tensor."""
    return {name: torch.as_tensor(value) for name, value in state.items() if name not in TABLES}


def tensors_to_state(optimizer: Any, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The state of one parameter from a file, where the optimizer reads it."""
    state = {name: int(value) if name == "step" else value for name, value in tensors.items()}
    if "absmax1" in tensors:
        device = tensors["absmax1"].device
        state |= {name: optimizer.name2qmap[kind].to(device) for name, kind in TABLES.items()}
    return state
