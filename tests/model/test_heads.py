from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.model import heads
from tutelage.model.heads import label_logprobs

POSITIONS, WIDTH, VOCAB = 13, 6, 11


def inputs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn((POSITIONS, WIDTH), generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn((VOCAB, WIDTH), generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(VOCAB, (POSITIONS,), generator=generator)


def direct(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, cap: float | None = None) -> torch.Tensor:
    logits = hidden @ weight.T
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    return logits.log_softmax(dim=-1)[torch.arange(len(labels)), labels]


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("chunk_numbers", [1, VOCAB, 3 * VOCAB, 5 * VOCAB - 1, POSITIONS * VOCAB])
def test_chunked_log_probabilities_are_the_direct_ones_with_their_gradients(
    chunk_numbers: int, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "CHUNK_NUMBERS", chunk_numbers)
    monkeypatch.setattr(heads, "ROWS", 1)
    ours, exact = inputs(torch.float32), inputs(torch.float64)
    found, expected = label_logprobs(*ours, cap), direct(*exact, cap)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    scale = torch.linspace(-2, 3, POSITIONS, dtype=torch.float64)
    grads = torch.autograd.grad((found * scale).sum(), ours[:2])
    for grad, wanted in zip(grads, torch.autograd.grad((expected * scale).sum(), exact[:2]), strict=True):
        torch.testing.assert_close(grad.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("chunk_numbers", [2 * VOCAB, 1 << 20])
def test_gradcheck(chunk_numbers: int, cap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CHUNK_NUMBERS", chunk_numbers)
    monkeypatch.setattr(heads, "ROWS", 1)
    hidden, weight, labels = inputs(torch.float64)
    assert torch.autograd.gradcheck(lambda h, w: label_logprobs(h, w, labels, cap), (hidden, weight))


@given(st.floats(-300, 300), st.integers(0, VOCAB - 1))
def test_extreme_logits_stay_finite(size: float, label: int) -> None:
    hidden = torch.full((1, 1), size)
    weight = torch.linspace(-1, 1, VOCAB)[:, None]
    assert label_logprobs(hidden, weight, torch.tensor([label])).isfinite().all()


def test_bfloat16_is_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """64K equal logits: summed in bfloat16 the total would stop growing at 256."""
    hidden, weight = torch.zeros((2, 4), dtype=torch.bfloat16), torch.zeros((65_536, 4), dtype=torch.bfloat16)
    for chunk_numbers in (65_536, 1 << 20):
        monkeypatch.setattr(heads, "CHUNK_NUMBERS", chunk_numbers)
        found = label_logprobs(hidden, weight, torch.tensor([0, 1]))
        torch.testing.assert_close(found, torch.full((2,), -torch.log(torch.tensor(65_536.0)).item()))


def test_pain_16_the_logits_of_a_large_vocabulary_are_never_kept_for_backward() -> None:
    hidden = torch.zeros((4096, 8), requires_grad=True)
    weight = torch.zeros((4096, 8), requires_grad=True)
    assert hidden.shape[0] * weight.shape[0] > heads.CHUNK_NUMBERS
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        label_logprobs(hidden, weight, torch.zeros(4096, dtype=torch.int64))
    assert kept
    assert max(kept) <= hidden.numel()


PEAK = """
import sys
import torch
from tutelage.model.heads import chunk_positions, label_logprobs
from tutelage.process import peak_rss_bytes
dtype = getattr(torch, sys.argv[1])
vocab, positions = 128 * 1024, 4096
hidden = torch.ones((positions, 8), dtype=dtype, requires_grad=True)
weight = torch.ones((vocab, 8), requires_grad=True)
labels = torch.zeros(positions, dtype=torch.int64)
label_logprobs(hidden[:1], weight, labels[:1]).sum().backward()
before = peak_rss_bytes()
label_logprobs(hidden, weight, labels).sum().backward()
print(peak_rss_bytes() - before, 4 * vocab * chunk_positions(vocab), 4 * vocab * positions)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is not counted alike")
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_pain_16_a_vocabulary_of_128_thousand_takes_three_chunks_of_memory(dtype: str) -> None:
    """Forward and backward over 4,096 positions, whose logits would be two gigabytes, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", PEAK, dtype], capture_output=True, check=True)
    grown, chunk, everything = map(int, done.stdout.split())
    assert grown < 3 * chunk < everything / 5
