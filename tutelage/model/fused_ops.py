"""Position-wise operations of a block, each one autograd function. On a CPU PyTorch's own versions read memory several
times and save tensors that can be recomputed. A compiler gets the formulas.

Shape suffixes: N positions, D width, M hidden size of the MLP.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def rms_norm(x_ND: torch.Tensor, gain_D: torch.Tensor, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) * gain over the last dimension; computed in float32 at least, returned in x's dtype."""
    if torch.compiler.is_compiling():
        wide_ND = x_ND.to(torch.promote_types(x_ND.dtype, torch.float32))
        return (wide_ND * (wide_ND.square().mean(-1, keepdim=True) + eps).rsqrt() * gain_D).to(x_ND.dtype)
    if torch.is_grad_enabled() or x_ND.dtype != gain_D.dtype:
        return _RMSNorm.apply(x_ND, gain_D, eps)
    return F.rms_norm(x_ND, gain_D.shape, gain_D, eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_ND, gain_D, eps):  # type: ignore[no-untyped-def]
        wide = torch.promote_types(x_ND.dtype, torch.float32)
        squares = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True, dtype=wide).square_()
        scale_N1 = squares.div_(x_ND.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x_ND, gain_D, scale_N1)
        return (x_ND * scale_N1).mul_(gain_D).to(x_ND.dtype)

    @staticmethod
    def backward(ctx, grad_ND):  # type: ignore[no-untyped-def]
        x_ND, gain_D, scale_N1 = ctx.saved_tensors
        wide, size = scale_N1.dtype, gain_D.shape
        grad_wide, gain = grad_ND.to(wide), gain_D.to(wide)
        # LayerNorm's kernel with a mean of zero gives this gradient minus the mean of grad * gain, which is added back.
        grad_x, grad_gain, _ = torch.ops.aten.native_layer_norm_backward(
            grad_wide, x_ND.to(wide), size, torch.zeros_like(scale_N1), scale_N1, gain, None, [True, True, False]
        )
        mean_N1 = (grad_wide @ gain)[..., None] / size[0]
        return grad_x.addcmul_(mean_N1, scale_N1).to(x_ND.dtype), grad_gain.to(gain_D.dtype), None


def swiglu(gate_and_up_N2M: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, where the last dimension holds gate, then up; [N, 2M] -> [N, M]."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _SwiGLU.apply(gate_and_up_N2M)
    gate, up = gate_and_up_N2M.chunk(2, dim=-1)
    return F.silu(gate).mul_(up) if not torch.is_grad_enabled() else F.silu(gate) * up


class _SwiGLU(torch.autograd.Function):
    """Recomputes silu(gate) in the backward pass, and writes both gradients into one tensor."""

    @staticmethod
    def forward(ctx, gate_and_up_N2M):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(gate_and_up_N2M)
        gate, up = gate_and_up_N2M.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx, grad_NM):  # type: ignore[no-untyped-def]
        (gate_and_up_N2M,) = ctx.saved_tensors
        gate, up = gate_and_up_N2M.chunk(2, dim=-1)
        grad_N2M = torch.empty_like(gate_and_up_N2M)
        grad_gate, grad_up = grad_N2M.chunk(2, dim=-1)
        torch.mul(F.silu(gate), grad_NM, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad_NM * up, gate, grad_input=grad_gate)
        return grad_N2M
