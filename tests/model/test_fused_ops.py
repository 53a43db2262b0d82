from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tutelage.model.fused_ops import rms_norm, swiglu


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


@pytest.mark.parametrize("shape", [(5, 8), (3, 4, 6)])
def test_gradcheck_of_rms_norm(shape: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(lambda x, gain: rms_norm(x, gain, 1e-5), (draw(*shape), draw(shape[-1])))


def test_gradcheck_of_rms_norm_of_a_part_of_something() -> None:
    assert torch.autograd.gradcheck(lambda x, gain: rms_norm(x[:, 1:3], gain, 1e-5), (draw(3, 4, 6), draw(6)))


def test_gradcheck_of_swiglu() -> None:
    assert torch.autograd.gradcheck(swiglu, (draw(5, 8),))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_rms_norm_is_that_of_torch_with_its_gradients(dtype: torch.dtype, tolerance: float) -> None:
    x, gain, direction = draw(300, 32, dtype=dtype), draw(32, dtype=torch.float32), draw(301, 32)[:300]
    out, expected = rms_norm(x, gain, 1e-6), F.rms_norm(x.double(), (32,), gain.double(), 1e-6)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    direction = direction.detach().to(dtype)
    found = torch.autograd.grad((out * direction).sum(), (x, gain))
    for grad, wanted in zip(found, torch.autograd.grad((expected * direction).sum(), (x, gain)), strict=True):
        assert grad.dtype == wanted.dtype
        # A gain's gradient is a sum over 300 positions.
        torch.testing.assert_close(grad, wanted, rtol=tolerance, atol=300**0.5 * tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_swiglu_is_silu_times_up(dtype: torch.dtype, tolerance: float) -> None:
    x = draw(7, 12, dtype=dtype)
    gate, up = x.double().chunk(2, dim=-1)
    out = swiglu(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), F.silu(gate) * up, rtol=tolerance, atol=tolerance)


def test_nothing_made_again_is_kept() -> None:
    kept: list[torch.Size] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        swiglu(draw(5, 8))
    assert kept == [torch.Size((5, 8))]
