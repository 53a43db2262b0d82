"""Tensor parallel (Shoeybi et al. 2019, arXiv 1909.08053, section 3): each process computes some heads and some hidden
units of every block.

The first matrix of attention and MLP is split by rows, the second by columns, so that one sum over the processes ends
each of the two. Embeddings, norms of the residual stream and the output are computed by all processes alike. Parameters
are DTensors, which checkpoints, optimizers and FSDP2 understand; products are of the local parts.

A fused matrix (`model.parts`) is stored with its rows in another order: first the rows of all parts that belong to the
first process, then those of the second. `Transformer.row_orders` has the order; what leaves the process, such as a
checkpoint, is put back into the model's own order.
"""

from __future__ import annotations

from typing import cast

import msgspec
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from tutelage.model.transformer import Block, Transformer
from tutelage.train.row_orders import in_stored_order, row_order


def share_matrices(model: Transformer, mesh: DeviceMesh) -> None:
    """Share the matrices of a model's blocks over the processes of `mesh`, in place. All hold the whole model before.

    Raises:
        ValueError: the model has trained parts that cannot be shared.
    """
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise ValueError(f"tp {mesh.size()} cannot share a model with LoRA; use layout.dp, or train all weights")
    for layer, block in enumerate(cast(list[Block], list(model.blocks))):
        for name in ("qkv", "mlp_up"):
            order = row_order(model.config, f"blocks.{layer}.{name}.weight", mesh.size())
            linear = getattr(block, name)
            setattr(block, name, ColumnLinear(linear, order, mesh))
            for tensor, _ in linear.named_parameters():
                model.row_orders[f"blocks.{layer}.{name}.{tensor}"] = order
        for name in ("attention_out", "mlp_down"):
            setattr(block, name, RowLinear(getattr(block, name), mesh))
        if model.config.qk_norm:
            block.q_norm, block.k_norm = HeadNorm(block.q_norm, mesh), HeadNorm(block.k_norm, mesh)
        c = model.config
        block.config = msgspec.structs.replace(
            c, heads=c.heads // mesh.size(), kv_heads=c.kv_heads // mesh.size(), mlp_width=c.mlp_width // mesh.size()
        )


def _parameter(whole: torch.Tensor, placement: Placement, mesh: DeviceMesh) -> nn.Parameter:
    """This process's part of a tensor that it has whole."""
    local = whole
    if isinstance(placement, Shard):
        local = whole.chunk(mesh.size(), placement.dim)[mesh.get_local_rank()].contiguous()
    return nn.Parameter(DTensor.from_local(local, mesh, [placement], run_check=False))


def _local(parameter: torch.Tensor) -> torch.Tensor:
    return cast(DTensor, parameter).to_local()


class ColumnLinear(nn.Module):
    """The rows of a linear layer that belong to this process. Its input is the same on all processes, and gets the
    sum of their gradients."""

    def __init__(self, linear: nn.Linear, order: torch.Tensor, mesh: DeviceMesh) -> None:
        super().__init__()
        self.mesh = mesh
        self.weight = _parameter(in_stored_order(linear.weight.detach(), order), Shard(0), mesh)
        bias = cast(torch.Tensor | None, linear.bias)
        self.bias = None if bias is None else _parameter(in_stored_order(bias.detach(), order), Shard(0), mesh)

    def forward(self, x_ND: torch.Tensor) -> torch.Tensor:
        x_ND = DTensor.from_local(x_ND, self.mesh, [Replicate()], run_check=False).to_local(grad_placements=[Partial()])
        return F.linear(x_ND, _local(self.weight), None if self.bias is None else _local(self.bias))


class RowLinear(nn.Module):
    """The columns of a linear layer that belong to this process, whose input is its part; the output is the sum over
    all processes. The bias is added once, by all alike."""

    def __init__(self, linear: nn.Linear, mesh: DeviceMesh) -> None:
        super().__init__()
        self.mesh, self.bias = mesh, linear.bias
        self.weight = _parameter(linear.weight.detach(), Shard(1), mesh)

    def forward(self, x_NK: torch.Tensor) -> torch.Tensor:
        part_ND = DTensor.from_local(F.linear(x_NK, _local(self.weight)), self.mesh, [Partial()], run_check=False)
        y_ND = part_ND.redistribute(placements=[Replicate()]).to_local()
        bias = cast(torch.Tensor | None, self.bias)
        return y_ND if bias is None else y_ND + bias.to(y_ND.dtype)


class HeadNorm(nn.Module):
    """The norm of each head. All processes have its weight, and each the gradient of its own heads, which are summed:
    otherwise the copies would drift apart without an error."""

    def __init__(self, norm: nn.Module, mesh: DeviceMesh) -> None:
        super().__init__()
        self.norm = (norm,)  # in a tuple, so that it is no submodule and the weight keeps its name
        self.weight = _parameter(cast(torch.Tensor, norm.weight).detach(), Replicate(), mesh)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = cast(DTensor, self.weight).to_local(grad_placements=[Partial()])
        output: torch.Tensor = torch.func.functional_call(self.norm[0], {"weight": weight}, (x,))
        return output
