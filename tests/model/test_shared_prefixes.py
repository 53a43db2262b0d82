"""Prefixes that segments share are computed once, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.batching.packing import collate, shared_prefixes
from tutelage.model.lora import LoraSettings, add_lora
from tutelage.model.shared_prefixes import sharing_of
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.tensor_map import OWN
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Example

VOCAB = 13
rows = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=7)


@given(rows)
def test_a_position_is_computed_once_for_each_prefix_that_ends_at_it(tokens: list[list[int]]) -> None:
    unique_C, copy_N = shared_prefixes([np.array(row, np.int32) for row in tokens])
    prefixes = [tuple(row[: place + 1]) for row in tokens for place in range(len(row))]
    if unique_C is None or copy_N is None:
        assert len(set(prefixes)) > 0.95 * len(prefixes)
        return
    assert len(unique_C) == len(set(prefixes))
    assert unique_C.tolist() == sorted(unique_C.tolist())
    assert [prefixes[place] for place in unique_C[copy_N].tolist()] == prefixes
    assert copy_N[unique_C].tolist() == list(range(len(unique_C)))


def groups() -> list[tuple[Example, ...]]:
    """Samples of three prompts, of unequal lengths and mixed, with a text that shares nothing and an equal answer."""
    random = np.random.default_rng(1)
    prompts = [random.integers(0, VOCAB, length) for length in (11, 5, 23)]
    made = []
    for number in range(9):
        prompt = prompts[number % 3]
        answer = random.integers(0, VOCAB, 3 + number)
        weights = np.concatenate([np.zeros(len(prompt)), np.ones(len(answer))])
        made.append((Example(np.concatenate([prompt, answer]).astype(np.int32), weights.astype(np.float32)),))
    text = random.integers(0, VOCAB, 14).astype(np.int32)
    return [*made, (Example(text, np.ones(14, np.float32)),), made[0]]


MODELS = {
    "llama": ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=64),
    "qwen3": ModelSettings(depth=2, width=32, heads=4, kv_heads=2, context=64, qk_norm=True, tied=False),
    "gpt2": ModelSettings(
        depth=2, width=32, heads=4, context=64, position="learned", norm="layer", mlp="gelu", bias=True
    ),
}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", [*MODELS, "llama with lora"])
def test_log_probabilities_heads_and_gradients_are_those_of_all_positions(name: str, checkpointing: bool) -> None:
    model = initialise(Transformer(resolve(MODELS[name.split()[0]], VOCAB)), seed=0)
    if "lora" in name:
        add_lora(model, OWN, LoraSettings(rank=2), (), seed=0)
    model.set_head("value", torch.randn((1, 32), generator=torch.Generator().manual_seed(1)))
    model.double().activation_checkpointing = checkpointing
    found = []
    for share in (False, True):
        batch = collate(groups(), share=share)
        assert (sharing_of(batch) is not None) == share
        outputs = model.outputs(batch)
        random = torch.randn(len(outputs.logprobs), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        ((outputs.logprobs * random).sum() + outputs.heads["value"].square().sum()).backward()
        gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
        found.append((outputs, gradients))
        model.zero_grad()
    (plain, plain_gradients), (shared, shared_gradients) = found
    torch.testing.assert_close(shared.logprobs, plain.logprobs, rtol=0, atol=1e-12)
    torch.testing.assert_close(shared.heads["value"], plain.heads["value"], rtol=0, atol=1e-12)
    for key, gradient in plain_gradients.items():
        torch.testing.assert_close(shared_gradients[key], gradient, rtol=1e-9, atol=1e-12, msg=key)


def test_fewer_positions_are_computed() -> None:
    batch = collate(groups(), share=True)
    model = initialise(Transformer(resolve(MODELS["llama"], VOCAB)), seed=0)
    computed = []
    model.blocks[0].mlp_up.register_forward_hook(lambda module, inputs, out: computed.append(len(out)))
    model(batch)
    assert computed == [len(batch.unique_C)]  # type: ignore[arg-type]
    assert computed[0] < 0.7 * len(batch.tokens_N)
