"""Compiled operations on few rows against PyTorch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tutelage.model.few_rows import BLOCK, MOST_ROWS, FewRowsRMSNorm, log_sum_exp, most_likely

DTYPES = [torch.float32, torch.bfloat16, torch.float64]


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 8), (16, 576), (MOST_ROWS + 1, 33), (3, 4, 8)])
def test_rms_norm(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x, gain = numbers(0, *shape).to(dtype), numbers(1, shape[-1]).to(dtype)
    expected = F.rms_norm(x, gain.shape, gain, 1e-5)
    tolerance = 1e-5 if dtype != torch.bfloat16 else 2**-7
    torch.testing.assert_close(FewRowsRMSNorm(gain, 1e-5)(x), expected, atol=1e-6, rtol=tolerance)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 3 * BLOCK), st.sampled_from(DTYPES))
def test_highest_and_sum_of_logits(seed: int, rows: int, vocab: int, dtype: torch.dtype) -> None:
    logits = numbers(seed, rows, vocab + 3).to(dtype)[:, :vocab]  # rows of a wider table
    highest = logits.max(dim=-1).values
    first = (logits == highest[:, None]).int().argmax(dim=-1)
    assert torch.equal(most_likely(logits), first)
    wide = logits.to(torch.promote_types(dtype, torch.float32))
    torch.testing.assert_close(log_sum_exp(logits), wide.logsumexp(-1), atol=2e-6, rtol=1e-6)


def test_the_first_of_equal_logits_is_chosen() -> None:
    logits = torch.zeros(2, 2 * BLOCK)
    logits[1, BLOCK + 5] = logits[1, BLOCK + 9] = 1.0
    assert most_likely(logits).tolist() == [0, BLOCK + 5]


def test_excluded_tokens_do_not_count() -> None:
    logits = torch.full((1, 5), -torch.inf)
    logits[0, 3] = 2.0
    assert most_likely(logits).tolist() == [3]
    assert log_sum_exp(logits).tolist() == [2.0]
