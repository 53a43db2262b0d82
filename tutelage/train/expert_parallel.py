"""Expert parallel (Lepikhin et al. 2020, GShard, arXiv 2006.16668): each process holds some experts of every layer.

The rows of a micro-batch, sorted by expert, go to the processes that hold their experts and come back: two exchanges of
all with all, and two in the backward pass. So the gradient of an expert is the sum over the tokens of all processes of
its group, and FSDP2 sums it over the groups.

Shape suffixes: E experts, L experts of this process, P processes, R rows sent, S rows received, D width.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard

from tutelage.model.mlp import activation
from tutelage.model.moe import ExpertMLPs, StackedLinear, grouped_linear
from tutelage.model.transformer import Transformer


def share_experts(model: Transformer, mesh: DeviceMesh) -> list[ExpertMLPs]:
    """Share the experts of a model over the processes of `mesh`, in place; returns them. All hold the whole model
    before.

    Raises:
        ValueError: the model has trained parts that cannot be shared.
    """
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise ValueError(f"ep {mesh.size()} cannot share a model with LoRA; leave it at 1, or train all weights")
    shared = [module for module in model.modules() if isinstance(module, ExpertMLPs)]
    for experts in shared:
        for name in ("up", "down"):
            setattr(experts, name, _SharedLinear(getattr(experts, name), mesh))
        experts.rows = partial(_rows, experts, mesh)  # type: ignore[method-assign]
    return shared


class _SharedLinear(nn.Module):
    """The linear layers of this process's experts."""

    def __init__(self, linear: StackedLinear, mesh: DeviceMesh) -> None:
        super().__init__()
        self.weight = _part(linear.weight, mesh)
        bias = cast(torch.Tensor | None, linear.bias)
        self.bias = None if bias is None else _part(bias, mesh)

    def forward(self, x_SI: torch.Tensor, counts_L: torch.Tensor) -> torch.Tensor:
        y_SO = grouped_linear(x_SI, cast(DTensor, self.weight).to_local(), counts_L)
        if self.bias is None:
            return y_SO
        bias_LO = cast(DTensor, self.bias).to_local()
        return y_SO + bias_LO.repeat_interleave(counts_L, dim=0, output_size=len(x_SI)).to(y_SO.dtype)


def _part(whole: torch.Tensor, mesh: DeviceMesh) -> nn.Parameter:
    local = whole.detach().chunk(mesh.size())[mesh.get_local_rank()].contiguous()
    return nn.Parameter(DTensor.from_local(local, mesh, [Shard(0)], run_check=False))


class _Exchange(torch.autograd.Function):
    """Send `sent[p]` rows to each process p of the group, and receive `received[p]` from it; gradients go back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, sent: list[int], received: list[int], mesh: DeviceMesh) -> torch.Tensor:
        ctx.sent, ctx.received, ctx.mesh = sent, received, mesh
        return _exchange(x, sent, received, mesh)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return _exchange(grad, ctx.received, ctx.sent, ctx.mesh), None, None, None


def _exchange(x: torch.Tensor, sent: list[int], received: list[int], mesh: DeviceMesh) -> torch.Tensor:
    found = x.new_empty((sum(received), *x.shape[1:]))
    dist.all_to_all_single(found, x.contiguous(), received, sent, group=mesh.get_group())
    return found


def _rows(experts: ExpertMLPs, mesh: DeviceMesh, x_RD: torch.Tensor, counts_E: torch.Tensor) -> torch.Tensor:
    """`ExpertMLPs.rows`: each row's expert, wherever it is."""
    processes = mesh.size()
    counts_PL = counts_E.reshape(processes, -1)
    ones = [1] * processes
    incoming_PL = _exchange(counts_PL, ones, ones, mesh)  # from each process, for each expert here
    sent, received = counts_PL.sum(1).tolist(), incoming_PL.sum(1).tolist()
    x_SD = _Exchange.apply(x_RD, sent, received, mesh)
    # Received rows are sorted by expert within each sender's part; experts want all of theirs together.
    here = torch.arange(counts_PL.shape[1], device=x_RD.device).repeat(processes)
    order_S = here.repeat_interleave(incoming_PL.flatten()).argsort(stable=True)
    counts_L = incoming_PL.sum(0)
    hidden = activation(experts.kind, experts.up(x_SD[order_S], counts_L))
    y_SD = experts.down(hidden, counts_L)[order_S.argsort()]
    return cast(torch.Tensor, _Exchange.apply(y_SD, received, sent, mesh))
