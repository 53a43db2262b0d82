"""Rotary positions (RoPE, Su et al. 2021, arXiv 2104.09864): tables of angles, and the rotation of heads.

Shape suffixes: N tokens end to end, H heads, K head size.
"""

from __future__ import annotations

import math

import torch

from tutelage.model.settings import LinearScaling, Llama3Scaling, LongScaling, YarnScaling
from tutelage.model.sizes import ModelConfig

# Up to this many numbers, a rotation of whole heads takes fewer, larger operations; above, it reads memory more often.
SMALL = 2**15


def rotation_at(table: torch.Tensor, positions_N: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The rotation at these positions, [2, N, 1, 2 pairs], from a table [2, context, pairs]: cosines twice, then sines,
    negative and positive."""
    cosines, sines = table[:, positions_N, None].to(dtype)
    return torch.stack([torch.cat([cosines, cosines], dim=-1), torch.cat([-sines, sines], dim=-1)])


def rotate(x_NHK: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Rotate each pair of a head by its position's angle, in Llama's half-split layout. `rotation` is that of
    `rotation_at`. Dimensions of a head beyond 2 * pairs are unchanged."""
    if torch.compiler.is_compiling():
        return _rotate_halves(x_NHK, rotation[0], rotation[1])
    return _Rotate.apply(x_NHK, rotation) if x_NHK.requires_grad else _rotate_pairs(x_NHK, rotation[0], rotation[1])


class _Rotate(torch.autograd.Function):
    """Rotates the gradient back by the same angle; autograd's own backward would copy the tensor several times."""

    @staticmethod
    def forward(ctx, x_NHK, rotation):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(rotation)
        return _rotate_pairs(x_NHK, rotation[0], rotation[1])

    @staticmethod
    def backward(ctx, grad_NHK):  # type: ignore[no-untyped-def]
        (rotation,) = ctx.saved_tensors
        return _rotate_pairs(grad_NHK, rotation[0], -rotation[1]), None


def _rotate_halves(x_NHK: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """The formula alone, for compilers."""
    half = cosines.shape[-1] // 2
    first, second, rest = x_NHK[..., :half], x_NHK[..., half : 2 * half], x_NHK[..., 2 * half :]
    turned = torch.cat([second, first], dim=-1) * sines
    return torch.cat([torch.cat([first, second], dim=-1) * cosines + turned, rest], dim=-1)


def _rotate_pairs(x_NHK: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    half, size = cosines.shape[-1] // 2, x_NHK.shape[-1]
    if 2 * half == size and x_NHK.numel() <= SMALL:
        return (x_NHK * cosines).addcmul_(x_NHK.roll(half, -1), sines)
    first, second = x_NHK[..., :half], x_NHK[..., half : 2 * half]
    out_NHK = torch.empty(x_NHK.shape, dtype=x_NHK.dtype, device=x_NHK.device)
    torch.mul(first, cosines[..., :half], out=out_NHK[..., :half]).addcmul_(second, sines[..., :half])
    torch.mul(second, cosines[..., half:], out=out_NHK[..., half : 2 * half]).addcmul_(first, sines[..., half:])
    if 2 * half < size:
        out_NHK[..., 2 * half :] = x_NHK[..., 2 * half :]
    return out_NHK


def rotation_table(config: ModelConfig) -> torch.Tensor:
    """Cosines and sines for every position, float32 [2, context, pairs]. Angles are computed in float64: at
    position 100,000 float32 would lose digits of the highest frequency."""
    scaling = config.rope_scaling
    magnitude = scaling.magnitude if isinstance(scaling, YarnScaling | LongScaling) else 1.0
    return _table(config.context, scaled_periods(config), magnitude)


def window_rotation_table(config: ModelConfig) -> torch.Tensor:
    """The same for sliding-window layers that have their own base; float32 [2, context, pairs]."""
    assert config.window_rope_theta is not None
    return _table(config.context, _periods(config, config.window_rope_theta), 1.0)


def _table(context: int, periods: torch.Tensor, magnitude: float) -> torch.Tensor:
    angles = torch.arange(context, dtype=torch.float64)[:, None] / periods[None, :]
    return torch.stack([(table * magnitude).float() for table in (angles.cos(), angles.sin())])


def rotary_size(config: ModelConfig) -> int:
    """The dimensions of a head that are rotated."""
    return int(config.head_size * config.rotary_share) if config.latent is None else config.latent.rotated


def _periods(config: ModelConfig, theta: float) -> torch.Tensor:
    """Tokens per radian of each pair, float64 [pairs]."""
    size = rotary_size(config)
    return theta ** (torch.arange(size // 2, dtype=torch.float64) * 2 / size)


def unscaled_periods(config: ModelConfig) -> torch.Tensor:
    """Tokens per radian of each pair, before the model's RoPE scaling, float64 [pairs]."""
    return _periods(config, config.rope_theta)


def scaled_periods(config: ModelConfig) -> torch.Tensor:
    """Tokens per radian of each pair, after the model's RoPE scaling, float64 [pairs]."""
    periods, scaling = unscaled_periods(config), config.rope_scaling
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
            unscaled = ((turns - low) / (high - low)).clamp(0, 1)
        case YarnScaling():
            unscaled = 1 - _yarn_ramp(config, scaling)
    # Interpolates frequencies, not periods.
    return 1 / (unscaled / periods + (1 - unscaled) / (periods * scaling.factor))


def _yarn_ramp(config: ModelConfig, scaling: YarnScaling) -> torch.Tensor:
    """0 for pairs with more than `beta_fast` turns in the original context, 1 for those with fewer than `beta_slow`,
    linear in between; float64 [pairs]."""
    size = rotary_size(config)

    def pair(turns: float) -> float:
        return size * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    first, last = pair(scaling.beta_fast), pair(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    # Equal ends would divide by zero.
    return ((torch.arange(size // 2, dtype=torch.float64) - first) / ((last - first) or 0.001)).clamp(0, 1)
