"""The activations of MLPs, dense ones and experts alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tutelage.model.fused_ops import swiglu
from tutelage.model.settings import Activation

SWIGLU_ALPHA, SWIGLU_LIMIT = 1.702, 7.0


def activation(kind: Activation, hidden: torch.Tensor) -> torch.Tensor:
    """The activation of an MLP; of a gated one, whose gate and up are the halves of `hidden`, of half its size."""
    if kind == "swiglu":
        return swiglu(hidden)
    if kind == "swiglu_clamped":
        return clamped_swiglu(hidden)
    if kind == "geglu_tanh":
        gate, up = hidden.chunk(2, dim=-1)
        return F.gelu(gate, approximate="tanh") * up
    if kind == "relu2":
        return F.relu(hidden).square()
    return F.gelu(hidden, approximate="tanh" if kind == "gelu_tanh" else "none")


def clamped_swiglu(hidden: torch.Tensor) -> torch.Tensor:
    """(up + 1) * gate * sigmoid(1.702 gate), with gate at most 7 and up within 7 of 0 (gpt-oss)."""
    gate, up = hidden.chunk(2, dim=-1)
    gate, up = gate.clamp(max=SWIGLU_LIMIT), up.clamp(-SWIGLU_LIMIT, SWIGLU_LIMIT)
    return (up + 1) * gate * torch.sigmoid(SWIGLU_ALPHA * gate)
