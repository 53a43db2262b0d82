"""In which order the rows of a fused matrix are stored where processes share it (see `train.tensor_parallel`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from tutelage.model.parts import parts
from tutelage.model.sizes import ModelConfig


def row_order(config: ModelConfig, name: str, processes: int) -> torch.Tensor:
    """Which row of the model each stored row is, int64: the rows of all parts that the first process has, then those of
    the second, and so on.

    Example: 4 heads and 2 key-value heads of size 1 over 2 processes have q0 q1 k0 v0 | q2 q3 k1 v1.
    """
    own = parts(config, name)
    rows = torch.arange(own[-1].rows.stop if len(own) > 1 else config.mlp_width)
    pieces = [rows[part.rows].chunk(processes) for part in own]
    return torch.cat([piece[process] for process in range(processes) for piece in pieces])


def in_model_order(stored: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    """A whole stored tensor with its rows as in the model."""
    return stored if order is None else stored[torch.argsort(order).to(stored.device)]


def in_stored_order(whole: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    """A whole tensor of the model with its rows as they are stored."""
    return whole if order is None else whole[order.to(whole.device)]


def orders_of(model: nn.Module) -> Mapping[str, torch.Tensor]:
    """The row orders of a model's parameters, by name; none where matrices are not shared."""
    orders: Mapping[str, torch.Tensor] = getattr(model, "row_orders", {})
    return orders
