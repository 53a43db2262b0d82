"""Compiled blocks, attention without padding, float8: equal to the model without them, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import torch.nn.attention.varlen
from tiny_recipe import run_quietly, write_tiny_recipe
from torch import nn
from torch._dynamo.utils import counters

from tutelage.batching.packing import collate
from tutelage.config import SettingsError
from tutelage.model import block
from tutelage.model.settings import Experts, Latent
from tutelage.model.sizes import ModelConfig, ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.recipe import load_recipe
from tutelage.records import Batch, Example
from tutelage.runner import Run
from tutelage.stages.pretrain import Pretrain
from tutelage.train import kernels
from tutelage.train.losses import cross_entropy

LLAMA = resolve(ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=64, mlp_width=48), vocab=33)
QWEN3 = msgspec.structs.replace(LLAMA, qk_norm=True, bias=True)
WINDOWED = msgspec.structs.replace(LLAMA, window=5, windowed=(0,))
BERT = msgspec.structs.replace(LLAMA, causal=False, norm="layer", norm_place="post", bias=True, embedding_norm=True)


def make(config: ModelConfig) -> Transformer:
    return initialise(Transformer(config), seed=0)


def batch(*lengths: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(33, (length,), generator=generator).int().numpy() for length in lengths]
    return collate([(Example(tokens),) for tokens in rows])


def gradients(model: Transformer, *batches: Batch) -> dict[str, torch.Tensor]:
    """Losses of batches, and the gradients of their sum."""
    losses = [cross_entropy(model, one)[0]["loss"] for one in batches]
    sum(losses, torch.zeros(())).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return {**{f"loss {number}": loss.detach() for number, loss in enumerate(losses)}, **found}


def assert_close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], within: float) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert float(tensor.abs().max()) > 0, name
        assert float((found[name] - tensor).abs().max() / tensor.abs().max()) < within, name


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # from within the compiler
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_blocks_have_the_losses_and_gradients_of_plain_ones(
    checkpointing: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two graphs serve all blocks and batches; passes without gradients are plain."""
    torch._dynamo.reset()
    halves = tuple(torch.compile(half, dynamic=True, backend=backend) for half in (block.heads_of, block.rest_of))
    monkeypatch.setattr(block, "compiled_halves", lambda: halves)
    monkeypatch.setattr(kernels, "check_compiler", lambda device: None)
    batches = [batch(9, 3, 14), batch(21, 6), batch(40)]
    wanted = gradients(make(QWEN3), *batches)
    model = make(QWEN3)
    kernels.compile_blocks(model)
    model.activation_checkpointing = checkpointing
    counters.clear()
    assert_close(gradients(model, *batches), wanted, 1e-5)
    assert counters["stats"]["unique_graphs"] == 2
    with torch.no_grad():
        assert torch.equal(model(batches[0]), make(QWEN3)(batches[0]))
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
def test_this_machine_compiles() -> None:
    kernels.check_compiler("cpu")


def reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, starts: torch.Tensor, same: torch.Tensor, longest: int, *_: int,
    scale: float | None, window_size: tuple[int, int], enable_gqa: bool,
) -> torch.Tensor:  # fmt: skip
    """`varlen_attn` as its documentation says, token by token."""
    assert enable_gqa and starts.dtype == torch.int32 and starts is same
    assert longest == int(starts.diff().max())
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    output = []
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        for token in range(first, last):
            left, right = window_size
            low = first if left < 0 else max(first, token - left)
            high = last if right < 0 else min(last, token + right + 1)
            scores = torch.einsum("hk,thk->ht", q[token], k[low:high]) * (scale or q.shape[2] ** -0.5)
            output.append(torch.einsum("ht,thk->hk", scores.softmax(-1), v[low:high]))
    return torch.stack(output)


@pytest.mark.parametrize("config", [LLAMA, WINDOWED, BERT], ids=["causal", "windowed", "both directions"])
def test_attention_without_padding_gets_the_segments_and_windows_of_padded_attention(
    config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel runs on GPUs only; in its place is its definition."""
    monkeypatch.setattr(torch.nn.attention.varlen, "varlen_attn", reference)
    model = make(config)
    model.varlen_attention = True
    assert_close(gradients(model, batch(9, 3, 14)), gradients(make(config), batch(9, 3, 14)), 1e-4)


def test_float8_rounds_the_products_of_the_blocks_alone() -> None:
    pytest.importorskip("torchao")
    model, plain, data = make(LLAMA), make(LLAMA), batch(9, 3, 14)
    names = kernels.convert_to_float8(model, emulate=True)
    assert names == [f"blocks.{n}.{m}" for n in (0, 1) for m in ("qkv", "attention_out", "mlp_up", "mlp_down")]
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    found, wanted = gradients(model, data), gradients(plain, data)
    assert_close(found, wanted, 0.2)
    assert not torch.equal(found["blocks.0.qkv.weight"], wanted["blocks.0.qkv.weight"])


def test_pain_29_float8_of_zeros_is_zero() -> None:
    pytest.importorskip("torchao")
    model = make(LLAMA)
    kernels.convert_to_float8(model, emulate=True)
    assert torch.equal(model.blocks[0].qkv(torch.zeros(3, 32)), torch.zeros(3, 64))


MIXTURE = msgspec.structs.replace(LLAMA, experts=Experts(count=4, used=2, width=16))
LATENT = msgspec.structs.replace(LLAMA, latent=Latent(rank=8, plain=8, rotated=4, value=8))
ODD = msgspec.structs.replace(LLAMA, width=36, head_size=9, mlp_width=33)


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (lambda: kernels.compile_blocks(make(MIXTURE)), "^compile does not work with experts; leave it out$"),
        (lambda: kernels.compile_blocks(make(LATENT)), "^compile does not work with latent attention; leave it out$"),
        (lambda: kernels.compile_blocks(nn.Linear(1, 1)), "^compile works with the built-in architectures only, and "),
        (
            lambda: kernels.use_varlen_attention(make(LLAMA), "bfloat16"),
            "^varlen_attention needs a CUDA GPU, and the model is on the CPU; leave it out$",
        ),
        (
            lambda: kernels.use_float8(make(LLAMA), "bfloat16"),
            "^float8 needs a CUDA GPU, and the model is on the CPU; leave it out$",
        ),
        (
            lambda: kernels.convert_to_float8(make(ODD), emulate=True),
            "^float8 needs matrices whose sizes are multiples of 16, and the model has none$",
        ),
    ],
)
def test_what_does_not_work_is_refused_in_a_sentence(work: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        work()


def test_a_machine_without_a_compiler_refuses_compile_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object) -> Any:
        def call(*arguments: object) -> None:
            raise RuntimeError("No working C++ compiler found\nin a trace")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    kernels.check_compiler.cache_clear()
    with pytest.raises(ValueError, match=r"\(RuntimeError: No working C\+\+ compiler found\); it needs a C\+\+ comp"):
        kernels.check_compiler("cpu")
    kernels.check_compiler.cache_clear()


def test_kernels_keep_a_finished_stage_finished_and_other_rounding_does_not() -> None:
    plain = Pretrain(data={"world": 1}, steps=1)
    assert msgspec.structs.replace(plain, compile=True, varlen_attention=True).content() == plain.content()
    assert msgspec.structs.replace(plain, float8=True).content() != plain.content()


def test_a_run_refuses_a_kernel_that_is_not_here_in_a_sentence(tmp_path: Path) -> None:
    recipe = load_recipe(write_tiny_recipe(tmp_path, "steps = 1", "steps = 1"), ["stages.base.float8=true"])
    with pytest.raises(SettingsError, match="^stage base: float8 needs a CUDA GPU, and the model is on the CPU; leave"):
        run_quietly(Run(recipe, tmp_path / "run"), "base")
