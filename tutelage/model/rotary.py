"""Rotary positions (RoPE, Su et al. 2021, arXiv 2104.09864): the angles, and how heads are turned by them.

Shape suffixes: N tokens end to end, H heads, K head size.
"""

from __future__ import annotations

import math

import torch

from tutelage.model.sizes import LinearScaling, Llama3Scaling, LongScaling, ModelConfig, YarnScaling


def rotate(x_NHK: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Turn each pair of a head by its position's angle, in Llama's half-split layout. rotation: [2, N, 1, pairs],
    cosines and sines; what a head has beyond 2 x pairs is left as it is."""
    return _Rotate.apply(x_NHK, rotation) if x_NHK.requires_grad else _turned(x_NHK, rotation[0], rotation[1])


class _Rotate(torch.autograd.Function):
    """The gradient is turned back by the same angle: autograd's own way would copy everything several times."""

    @staticmethod
    def forward(ctx, x_NHK, rotation):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(rotation)
        return _turned(x_NHK, rotation[0], rotation[1])

    @staticmethod
    def backward(ctx, grad_NHK):  # type: ignore[no-untyped-def]
        (rotation,) = ctx.saved_tensors
        return _turned(grad_NHK, rotation[0], -rotation[1]), None


def _turned(x_NHK: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    half, size = cosines.shape[-1], x_NHK.shape[-1]
    first, second = x_NHK[..., :half], x_NHK[..., half : 2 * half]
    out_NHK = torch.empty(x_NHK.shape, dtype=x_NHK.dtype, device=x_NHK.device)
    torch.mul(first, cosines, out=out_NHK[..., :half]).addcmul_(second, sines, value=-1)
    torch.mul(second, cosines, out=out_NHK[..., half : 2 * half]).addcmul_(first, sines)
    if 2 * half < size:
        out_NHK[..., 2 * half :] = x_NHK[..., 2 * half :]
    return out_NHK


def rotation_table(config: ModelConfig) -> torch.Tensor:
    """Cosines and sines for every position, float32 [2, context, pairs]; angles in float64, where position 100,000
    times the fastest frequency keeps its digits."""
    scaling = config.rope_scaling
    magnitude = scaling.magnitude if isinstance(scaling, YarnScaling | LongScaling) else 1.0
    return _table(config.context, _scaled(config, _periods(config, config.rope_theta)), magnitude)


def window_rotation_table(config: ModelConfig) -> torch.Tensor:
    """The same for the windowed layers of a model in which they have a base of their own."""
    assert config.window_rope_theta is not None
    return _table(config.context, _periods(config, config.window_rope_theta), 1.0)


def _table(context: int, periods: torch.Tensor, magnitude: float) -> torch.Tensor:
    angles = torch.arange(context, dtype=torch.float64)[:, None] / periods[None, :]
    return torch.stack([(one * magnitude).float() for one in (angles.cos(), angles.sin())])


def _periods(config: ModelConfig, theta: float) -> torch.Tensor:
    """How many tokens each pair takes to turn by one radian, float64 [pairs]."""
    size = int(config.head_size * config.rotary_share)
    return theta ** (torch.arange(size // 2, dtype=torch.float64) * 2 / size)


def _scaled(config: ModelConfig, periods: torch.Tensor) -> torch.Tensor:
    """The periods stretched as the model's long context asks for."""
    scaling = config.rope_scaling
    match scaling:
        case None:
            return periods
        case LinearScaling():
            return periods * scaling.factor
        case LongScaling():
            return periods * torch.tensor(scaling.divisors, dtype=torch.float64)
        case Llama3Scaling():
            turns = scaling.original_context / (2 * math.pi * periods)
            low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
            kept = ((turns - low) / (high - low)).clamp(0, 1)
        case YarnScaling():
            kept = 1 - _yarn_ramp(config, scaling)
    # Frequencies are blended, not periods.
    return 1 / (kept / periods + (1 - kept) / (periods * scaling.factor))


def _yarn_ramp(config: ModelConfig, scaling: YarnScaling) -> torch.Tensor:
    """0 for the pairs that turn more than `beta_fast` times in the original context, 1 for those that turn less than
    `beta_slow` times, and straight in between; float64 [pairs]."""
    size = int(config.head_size * config.rotary_share)

    def pair(turns: float) -> float:
        return size * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    first, last = pair(scaling.beta_fast), pair(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    # Two ends in one place would divide by nothing.
    return ((torch.arange(size // 2, dtype=torch.float64) - first) / ((last - first) or 0.001)).clamp(0, 1)
