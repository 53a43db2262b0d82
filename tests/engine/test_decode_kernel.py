"""The compiled attention of decoding rows against PyTorch's, and packed and 8-bit products against plain ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.engine.decode_kernel import DecodeKernel, supports
from tutelage.model.attention import ScoreOptions, masked_attention

POSITIONS = np.array([0, 5, 63, 20])


def reference(kv: torch.Tensor, q_BHK: torch.Tensor, options: ScoreOptions) -> torch.Tensor:
    """In float64, each row up to its position."""
    column = torch.arange(kv.shape[4])
    distance = torch.from_numpy(POSITIONS)[:, None] - column
    hidden = (distance < 0) | (distance >= (options.window or kv.shape[4]))
    mask = torch.zeros(hidden.shape, dtype=torch.float64).masked_fill_(hidden, -torch.inf)
    keys, values = kv[:, 1, : len(POSITIONS)].double()
    q_BGQK = q_BHK.double().unflatten(1, (keys.shape[1], -1))
    return masked_attention(q_BGQK, keys, values, mask[:, None, None], options).flatten(1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize(
    "options", [ScoreOptions(), ScoreOptions(scale=0.3, window=7), ScoreOptions(softcap=5.0)], ids=str
)
def test_ragged_rows_attend_as_in_float64(dtype: torch.dtype, tolerance: float, options: ScoreOptions) -> None:
    generator = torch.Generator().manual_seed(0)
    kv = torch.randn(2, 2, 5, 2, 64, 16, generator=generator).mul(2).to(dtype)
    before = kv.clone()
    q, k, v = torch.randn(4, 10, 16, generator=generator).mul(3).to(dtype).split([6, 2, 2], dim=1)
    assert supports(kv)
    found = DecodeKernel(kv, np.arange(4), POSITIONS)(1, q, k, v, options)
    rows = torch.arange(4)
    assert torch.equal(kv[0, 1, rows, :, POSITIONS], k)
    assert torch.equal(kv[1, 1, rows, :, POSITIONS], v)
    before[0, 1, rows, :, POSITIONS], before[1, 1, rows, :, POSITIONS] = k, v
    assert torch.equal(kv, before)  # nothing else was written
    torch.testing.assert_close(found.double(), reference(kv, q, options), atol=tolerance, rtol=tolerance)


def test_one_high_score_hides_scores_far_below_it() -> None:
    """exp of the difference is 0 to float32, not a small wrong number."""
    kv = torch.zeros(2, 1, 1, 1, 3, 8)
    kv[0, 0, 0, 0, 0] = 1000.0
    kv[1, 0, 0, 0, 0] = 5.0
    q, k, v = torch.ones(1, 1, 8), torch.zeros(1, 1, 8), torch.full((1, 1, 8), 7.0)
    found = DecodeKernel(kv, np.array([0]), np.array([2]))(0, q, k, v, ScoreOptions())
    torch.testing.assert_close(found, torch.full((1, 8), 5.0))


def test_other_dtypes_and_many_threads_take_pytorchs_kernel() -> None:
    assert not supports(torch.zeros(1, dtype=torch.float64))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        assert not supports(torch.zeros(1))
    finally:
        torch.set_num_threads(threads)
