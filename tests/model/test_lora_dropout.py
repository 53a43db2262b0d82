from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from tutelage.batching.packing import collate
from tutelage.config import SettingsError
from tutelage.model.lora import LoraSettings, add_lora
from tutelage.model.lora_dropout import LoraDropout, count_steps
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.tensor_map import LLAMA
from tutelage.model.transformer import Transformer, initialise
from tutelage.model.weights import trained_state
from tutelage.records import Example

ROWS = [Example(np.array(tokens, np.int32)) for tokens in ([1, 2, 3, 4], [1, 2, 5, 6, 7], [9, 8, 7, 6, 5, 4], [3, 3])]


def adapted(dropout: float, seed: int = 0) -> Transformer:
    model = initialise(Transformer(resolve(ModelSettings(depth=2, width=32, heads=4, context=16), 20)), seed=0)
    add_lora(model, LLAMA, LoraSettings(rank=3, dropout=dropout), (), seed)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in trained_state(model).values():
            tensor += torch.randn(tensor.shape, generator=generator) * 0.3
    return model


def logprobs(model: Transformer, rows: list[Example], step: int = 0) -> torch.Tensor:
    assert model.lora_dropout is not None
    model.lora_dropout.step = step
    return model(collate([(row,) for row in rows])).detach()


def test_what_is_dropped_does_not_depend_on_the_micro_batch() -> None:
    model = adapted(0.4)
    whole = logprobs(model, ROWS, step=3)
    torch.testing.assert_close(torch.cat([logprobs(model, [row], step=3) for row in ROWS]), whole)
    assert not torch.allclose(whole, logprobs(model, ROWS, step=4))
    torch.testing.assert_close(logprobs(model, ROWS, step=3), whole, rtol=0, atol=0)  # so a killed run resumes exactly
    assert not torch.allclose(whole, logprobs(adapted(0.4, seed=1), ROWS, step=3))


def test_nothing_is_dropped_where_no_gradient_is_wanted() -> None:
    model, plain = adapted(0.4), adapted(0.0)
    batch = collate([(row,) for row in ROWS])
    with torch.no_grad():
        torch.testing.assert_close(model(batch), plain(batch), rtol=0, atol=0)
    assert not torch.allclose(model(batch), plain(batch))


def test_the_share_is_dropped_and_the_rest_scaled_up() -> None:
    dropout = LoraDropout(0.25, seed=7)
    rng = np.random.default_rng(0)
    batch = collate([(Example(rng.integers(0, 1000, 100, np.int32)),) for _ in range(20)])
    dropout.begin(torch.nn.Module(), (batch,))
    masks = [dropout(torch.ones(2000, 64), layer) for layer in (0, 1)]
    assert masks[0].unique().tolist() == pytest.approx([0, 4 / 3])
    for mask in masks:
        assert (mask == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
        assert (mask == 0).float().mean(0).std().item() < 0.02  # no column is dropped more than others
    both = ((masks[0] == 0) & (masks[1] == 0)).float().mean().item()
    assert both == pytest.approx(0.25**2, abs=0.005)  # layers are independent
    first, second = masks[0][:-1], masks[0][1:]
    assert ((first == 0) & (second == 0)).float().mean().item() == pytest.approx(0.25**2, abs=0.005)


def test_padding_at_the_end_of_a_batch_is_no_matter() -> None:
    dropout = LoraDropout(0.25, seed=7)
    dropout.begin(torch.nn.Module(), (collate([(ROWS[0],)]),))
    padded = dropout(torch.ones(10, 64), 0)
    torch.testing.assert_close(padded[:4], dropout(torch.ones(4, 64), 0))


def test_every_step_has_its_own_number() -> None:
    dropout = LoraDropout(0.1, seed=0)
    assert [(item, dropout.step) for item in islice(count_steps(dropout, iter("abc"), 7), 3)] == [
        ("a", 7),
        ("b", 8),
        ("c", 9),
    ]


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="dropout is 1.0; it is a share"):
        LoraSettings(dropout=1.0)
