"""What compiled loops on a CPU share: tensors as arrays, and bfloat16, which numba does not know, as its bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload, register_jitable


def raw_array(x: torch.Tensor) -> np.ndarray:
    """The memory of a float32 or bfloat16 tensor as an array; of bfloat16, its bits as uint16."""
    return x.view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else x.numpy()


def widen(x: Any) -> Any:
    """A float32 as it is; the bits of a bfloat16 as the float32 that they begin."""
    raise NotImplementedError("compiled code only")


def narrow(x: Any, like: Any) -> Any:
    """A float32 as a number of the kind of `like`: itself, or the bits of the nearest bfloat16, of two equally near
    ones the even one. A NaN stays one."""
    raise NotImplementedError("compiled code only")


@overload(widen, inline="always")
def _compile_widen(x):  # type: ignore[no-untyped-def]
    if isinstance(x, types.Integer):
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


@overload(narrow, inline="always")
def _compile_narrow(x, like):  # type: ignore[no-untyped-def]
    if isinstance(like, types.Integer):
        return _nearest_bfloat16
    return lambda x, like: x


def _nearest_bfloat16(x, like):  # type: ignore[no-untyped-def]
    bits = np.float32(x).view(np.uint32)
    if x != x:
        return np.uint16(0x7FC0)
    return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@register_jitable
def exp_below_zero(x: Any) -> Any:
    """exp(x) for a float32 x <= 0, to 2e-7, without a call, so that loops over it are vectorised: 2 to a whole power,
    times the Taylor series of the rest, at most ln(2) / 2."""
    x = max(x, np.float32(-87))
    whole = np.int32(x * np.float32(1.4426950408889634) - np.float32(0.5))
    rest = x - np.float32(whole) * np.float32(0.693359375) - np.float32(whole) * np.float32(-2.12194440e-4)
    series = np.float32(1 / 5040)
    series = series * rest + np.float32(1 / 720)
    series = series * rest + np.float32(1 / 120)
    series = series * rest + np.float32(1 / 24)
    series = series * rest + np.float32(1 / 6)
    series = series * rest + np.float32(0.5)
    series = series * rest + np.float32(1)
    series = series * rest + np.float32(1)
    return series * np.uint32((whole + np.int32(127)) << np.int32(23)).view(np.float32)
