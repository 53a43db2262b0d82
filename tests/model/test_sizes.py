from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tutelage.batching.packing import collate
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.rows import Rows
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.memory import training_bytes
from tutelage.model.sizes import (
    ModelSettings,
    flops_per_token,
    kv_bytes_per_token,
    parameter_count,
    resolve,
)
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example
from tutelage.train.losses import cross_entropy
from tutelage.train.optimizers import Optimizer, OptimizerSettings

SHAPES = st.builds(
    ModelSettings,
    depth=st.integers(1, 3),
    context=st.integers(1, 64),
    width=st.sampled_from([None, 24, 48]),
    heads=st.sampled_from([None, 4]),
    kv_heads=st.sampled_from([None, 1]),
    mlp_width=st.sampled_from([None, 20]),
    position=st.sampled_from(["rotary", "learned"]),
    norm=st.sampled_from(["rms", "layer"]),
    mlp=st.sampled_from(["swiglu", "gelu", "relu2"]),
    bias=st.booleans(),
    qk_norm=st.booleans(),
    tied=st.booleans(),
)


SOME = [
    ModelSettings(depth=2, width=24, heads=4, context=40),
    ModelSettings(depth=1, width=24, heads=4, kv_heads=2, context=64, mlp="relu2", tied=False, qk_norm=True),
    ModelSettings(depth=2, width=16, context=5, mlp="gelu", position="learned", norm="layer", bias=True),
]


def attention_flops(products: int, query: torch.Size) -> int:
    """Of so many products of scores and heads of every pair of tokens, as if none were hidden."""
    segments, heads, length, size = query
    return 2 * products * segments * heads * length * length * size


# What torch does not know how to count: forward two products; backward twice that, were nothing made again.
FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
ATTENTION_FLOPS = {
    FLASH: lambda query, *rest, **named: attention_flops(2, query),
    FLASH_BACKWARD: lambda grad, query, *rest, **named: attention_flops(4, query),
}


@given(SHAPES, st.integers(1, 300))
def test_parameters_are_counted_exactly(shape: ModelSettings, vocab: int) -> None:
    config = resolve(shape, vocab)
    with torch.device("meta"):
        model = Transformer(config)
    assert parameter_count(config) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("shape", SOME)
def test_flops_are_those_that_torch_counts(shape: ModelSettings) -> None:
    """torch counts the whole square of the attention, of which the causal half is needed: the half for a segment of
    twice the length is as much."""
    config = resolve(shape, 200)
    length = config.context
    example = Example(
        torch.zeros(length).int().numpy(), targets=torch.ones(length).int().numpy()
    )  # every position trained
    model = initialise(Transformer(config), seed=0)
    batch = collate([(example,)] * 3)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_FLOPS) as counter:
        cross_entropy(model, batch)[0]["loss"].backward()
    counted = counter.get_total_flops() / len(batch.tokens_N)
    assert flops_per_token(config, 2 * length) == pytest.approx(counted, rel=1e-9)


@pytest.mark.parametrize("shape", SOME)
def test_weights_gradients_and_optimizer_state_take_what_plan_says(shape: ModelSettings) -> None:
    config = resolve(shape, 50)
    for kind in ("adamw", "muon"):
        model = initialise(Transformer(config), seed=0)
        optimizer = Optimizer(model, OptimizerSettings(kind=kind), lr=0.01)  # type: ignore[arg-type]
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step(1.0, optimizer.gradient_norm())
        numbers = [tensor for name, tensor in optimizer.state_tensors().items() if not name.endswith("/step")]
        held = [tensor for p in model.parameters() for tensor in (p, p.grad) if tensor is not None] + numbers
        assert training_bytes(config, muon=kind == "muon") == sum(tensor.nbytes for tensor in held)


def test_a_token_of_cache_takes_what_plan_says() -> None:
    config = resolve(ModelSettings(depth=3, width=64, heads=4, kv_heads=2, context=16), 10)
    engine = Engine(Transformer(config), EngineSettings(max_rows=2))
    for _ in range(2):
        engine.add([1] * 15, frozenset(), SamplingSettings())
    engine.step()
    assert isinstance(engine.rows, Rows)
    assert kv_bytes_per_token(config) * 2 * 16 == engine.rows.kv.nbytes
    assert kv_bytes_per_token(config, bytes_per_number=2) * 2 == kv_bytes_per_token(config)


@pytest.mark.parametrize(
    ("depth", "width", "heads", "mlp_width"),
    [(1, 64, 2, 192), (4, 256, 8, 704), (8, 512, 8, 1376), (20, 1280, 20, 3424)],
)
def test_everything_follows_from_depth(depth: int, width: int, heads: int, mlp_width: int) -> None:
    config = resolve(ModelSettings(depth=depth), vocab=100)
    assert (config.width, config.heads, config.kv_heads, config.mlp_width) == (width, heads, heads, mlp_width)
    assert config.heads * config.head_size == width


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (ModelSettings(depth=0), "model.depth is 0; it must be at least 1"),
        (ModelSettings(kv_heads=0), "model.kv_heads is 0; it must be at least 1"),
        (
            ModelSettings(width=30, heads=4),
            "model.width 30 cannot be split over 4 heads; choose a width that 4 divides",
        ),
        (ModelSettings(width=32, heads=4, kv_heads=3), "model.heads 4 must be a multiple of model.kv_heads 3"),
        (
            ModelSettings(width=12, heads=4),
            "rotary positions need an even head size, but width 12 / heads 4 = 3",
        ),
    ],
)
def test_sizes_that_do_not_fit_together_are_one_sentence(shape: ModelSettings, sentence: str) -> None:
    with pytest.raises(ValueError, match="model|rotary") as error:
        resolve(shape, vocab=10)
    assert str(error.value) == sentence
