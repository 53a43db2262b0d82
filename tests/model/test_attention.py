from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.model.attention import plan_padding, segment_attention

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def inputs(lengths: list[int], heads: int, kv_heads: int, size: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    shapes = [(sum(lengths), count, size) for count in (heads, kv_heads, kv_heads)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def dense(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """The textbook way: every token against every token, all but its own segment's past masked away."""
    segment = torch.repeat_interleave(torch.tensor(lengths))
    seen = (segment[:, None] == segment[None, :]).tril()
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("nhk,mhk->hnm", q, k) / q.shape[2] ** 0.5
    return torch.einsum("hnm,mhk->nhk", scores.masked_fill(~seen, -torch.inf).softmax(dim=-1), v).flatten(1)


@given(LENGTHS, st.sampled_from([(1, 1), (4, 2), (6, 3), (4, 1)]))
def test_segment_attention_is_masked_dense_attention_with_its_gradients(
    lengths: list[int], heads: tuple[int, int]
) -> None:
    ours, theirs = inputs(lengths, *heads), inputs(lengths, *heads)
    out, expected = segment_attention(*ours, plan_padding(lengths)), dense(*theirs, lengths)
    torch.testing.assert_close(out, expected)
    direction = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for grad, wanted in zip(
        torch.autograd.grad((out * direction).sum(), ours),
        torch.autograd.grad((expected * direction).sum(), theirs),
        strict=True,
    ):
        torch.testing.assert_close(grad, wanted)


@pytest.mark.parametrize("lengths", [[3, 3], [1, 4, 2], [6, 5, 1, 1]])
def test_gradcheck_of_segment_attention(lengths: list[int]) -> None:
    plan = plan_padding(lengths)
    assert torch.autograd.gradcheck(lambda q, k, v: segment_attention(q, k, v, plan), inputs(lengths, 2, 1, size=2))


@pytest.mark.parametrize("lengths", [[9, 9], [70, 33, 2]])
def test_bfloat16_attention_is_that_of_float32_to_its_own_digits(lengths: list[int]) -> None:
    exact = inputs(lengths, 4, 2, size=16)
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    out, expected = (segment_attention(*x, plan_padding(lengths)) for x in (rounded, exact))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), expected, rtol=0.03, atol=0.03)
    direction = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grads = torch.autograd.grad((out * direction.bfloat16()).sum(), rounded)
    for grad, wanted in zip(grads, torch.autograd.grad((expected * direction).sum(), exact), strict=True):
        assert grad.dtype == torch.bfloat16
        torch.testing.assert_close(grad.double(), wanted, rtol=0.05, atol=0.05)


@given(LENGTHS)
def test_every_token_has_one_slot_and_the_rest_is_padding(lengths: list[int]) -> None:
    plan = plan_padding(lengths)
    slots = sum(segments * length for segments, length in plan.shapes)
    assert sum(segments for segments, _ in plan.shapes) == len(lengths)
    if plan.token_of_slot_P is None:
        assert len(set(lengths)) == 1
        return
    assert plan.slot_of_token_N is not None
    assert len(plan.token_of_slot_P) == slots
    assert torch.equal(plan.token_of_slot_P[plan.slot_of_token_N], torch.arange(sum(lengths)))
    padding = set() if plan.padding is None else set(plan.padding.tolist())
    assert padding == set(range(slots)) - set(plan.slot_of_token_N.tolist())


def test_like_lengths_share_a_group_and_unlike_ones_do_not() -> None:
    assert plan_padding([100, 90, 10, 9, 75, 84]).shapes == ((3, 100), (1, 75), (2, 10))
    assert plan_padding([7, 7, 7]).shapes == ((3, 7),)
