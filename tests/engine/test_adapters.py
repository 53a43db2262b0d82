"""Adapters by request: each answer is that of a model which has the adapter attached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.engine.adapters import LoraAdapter, request_adapter
from tutelage.engine.engine import Engine, EngineSettings, generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.adapter import Adapter, attach, read_adapter, write_adapter
from tutelage.model.families import FAMILIES
from tutelage.model.lora import LoraSettings, add_lora, lora_pairs
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.tensor_map import ModuleNames
from tutelage.model.transformer import Transformer, initialise

NEVER: frozenset[int] = frozenset()
MODULES = FAMILIES["llama"].modules  # whose adapters have pairs for parts of our fused matrices
FUSED = FAMILIES["gpt2"].modules  # whose adapters have one pair for a fused matrix
PROMPT = np.random.default_rng(0).integers(0, 30, 50).tolist()
GREEDY = SamplingSettings(max_tokens=12)


def make_model(dtype: torch.dtype = torch.float64) -> Transformer:
    model = initialise(Transformer(resolve(ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=128), 30)), 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model.to(dtype)


def make_adapter(
    folder: Path, seed: int, rank: int = 4, targets: list[str] | None = None, modules: ModuleNames = MODULES
) -> Adapter:
    """An adapter folder as training writes it, with pairs that change the answers."""
    model, settings = make_model(torch.float32), LoraSettings(rank=rank, targets=targets)
    add_lora(model, modules, settings, (), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, linear, part in lora_pairs(model, modules):
            linear.lora_B[part].copy_(torch.randn(linear.lora_B[part].shape, generator=generator) * 0.2)
    folder.mkdir()
    write_adapter(folder, model, modules, settings, ("base", None), "fingerprint")
    return read_adapter(folder)


def attached(adapter: Adapter, modules: ModuleNames = MODULES) -> Transformer:
    model = make_model()
    attach(model, modules, adapter)
    return model.double()


@pytest.fixture
def adapters(tmp_path: Path) -> list[Adapter]:
    """Two of all matrices, of different ranks, and one of parts of fused matrices."""
    made = [make_adapter(tmp_path / str(number), number, rank) for number, rank in ((1, 4), (2, 3))]
    return [*made, make_adapter(tmp_path / "3", 3, targets=["k_proj", "up_proj"])]


def test_requests_with_several_adapters_in_one_batch_answer_as_models_with_them(adapters: list[Adapter]) -> None:
    base = make_model()
    chosen = [None, *(request_adapter(base, MODULES, adapter) for adapter in adapters)]
    expected = [generate(base, [np.array(PROMPT)], NEVER, GREEDY)[0]]
    expected += [generate(attached(adapter), [np.array(PROMPT)], NEVER, GREEDY)[0] for adapter in adapters]
    assert len({tuple(generation.tokens) for generation in expected}) == 4
    engine = Engine(base, EngineSettings(max_rows=8, chunk_tokens=20))
    requests = [engine.add(PROMPT, NEVER, GREEDY, adapter=adapter) for adapter in chosen * 2]
    engine.run()
    for request, alone in zip(requests, expected * 2, strict=True):
        assert request.generation.tokens == alone.tokens
        np.testing.assert_allclose(request.generation.logprobs, alone.logprobs, atol=1e-6)  # B A is summed otherwise
    assert len({request.generation.weights for request in requests}) == 4


def test_one_pair_for_a_fused_matrix(tmp_path: Path) -> None:
    adapter, base = make_adapter(tmp_path / "fused", 1, modules=FUSED), make_model()
    engine = Engine(base)
    request = engine.add(PROMPT, NEVER, GREEDY, adapter=request_adapter(base, FUSED, adapter))
    engine.run()
    expected = generate(attached(adapter, FUSED), [np.array(PROMPT)], NEVER, GREEDY)[0]
    assert request.generation.tokens == expected.tokens
    np.testing.assert_allclose(request.generation.logprobs, expected.logprobs, atol=1e-6)


def test_s1_adapters_never_share_keys_and_values(adapters: list[Adapter]) -> None:
    """One prompt, two adapters and none: with the prefix cache as without it. An adapter that is loaded again with
    other values, under whatever name, is another adapter; the same values are the same one."""
    base = make_model()
    cached = Engine(base, EngineSettings(min_prefix=1))
    plain = Engine(base, EngineSettings(prefix_cache="none"))

    def ask(engine: Engine, adapter: LoraAdapter | None) -> tuple[list[int], int]:
        request = engine.add(PROMPT, NEVER, GREEDY, adapter=adapter)
        engine.run()
        return request.generation.tokens, request.generation.cached_tokens

    reloaded = replace(adapters[0], alpha=adapters[0].alpha / 2)  # another scale, the same tensors
    for adapter in (adapters[0], adapters[1], None, reloaded):
        chosen = None if adapter is None else request_adapter(base, MODULES, adapter)
        tokens, hits = ask(cached, chosen)
        assert hits == 0
        assert tokens == ask(plain, chosen)[0]
        again = None if adapter is None else request_adapter(base, MODULES, adapter)
        assert ask(cached, again) == (tokens, 48)


@pytest.mark.parametrize("int8", [False, True])
def test_float32_and_8_bit_bases_take_adapters_beside_their_own_products(adapters: list[Adapter], int8: bool) -> None:
    base = make_model(torch.float32)
    adapter = request_adapter(base, MODULES, adapters[0])
    engine = Engine(base, EngineSettings(int8=int8))
    first = engine.add(PROMPT, NEVER, SamplingSettings(max_tokens=1), adapter=adapter)
    other = engine.add(PROMPT, NEVER, SamplingSettings(max_tokens=1))
    engine.run()
    model = make_model(torch.float32)
    attach(model, MODULES, adapters[0])
    expected = generate(model, [np.array(PROMPT)], NEVER, SamplingSettings(max_tokens=1))[0]
    assert first.generation.logprobs == pytest.approx(expected.logprobs, abs=0.3 if int8 else 1e-4)
    assert other.generation.logprobs != first.generation.logprobs


def test_adapters_that_a_request_cannot_bring_are_refused(adapters: list[Adapter]) -> None:
    base, adapter = make_model(), adapters[0]
    name = next(iter(adapter.tensors))
    rows = replace(
        adapter, tensors={**adapter.tensors, "model.embed_tokens.token_adapter.trainable_tokens_delta": torch.zeros(1)}
    )
    with pytest.raises(ValueError, match="trains model.embed_tokens.*serve it as a model of its own, or merge it"):
        request_adapter(base, MODULES, rows)
    with pytest.raises(ValueError, match="has blocks.9.*, which the model does not have"):
        request_adapter(
            base, MODULES, replace(adapter, tensors={**adapter.tensors, "blocks.9.lora_A.weight": rows.tensors[name]})
        )
    with pytest.raises(ValueError, match="has another shape than the model"):
        request_adapter(base, MODULES, replace(adapter, tensors={key: x[:, :2] for key, x in adapter.tensors.items()}))
    with pytest.raises(ValueError, match="need a plain model of one of the built-in families"):
        request_adapter(attached(adapter), MODULES, adapter)
