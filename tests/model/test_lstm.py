from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.batching.packing import collate
from tutelage.model.lstm import Lstm, initialise_lstm, lstm_parameters, lstm_width
from tutelage.records import Example, ExampleGroup
from tutelage.train.losses import cross_entropy

VOCAB = 29


def documents(lengths: list[int], seed: int = 0) -> list[ExampleGroup]:
    rng = np.random.default_rng(seed)
    tokens = [rng.integers(0, VOCAB, length).astype(np.int32) for length in lengths]
    return [(Example(row, np.ones(len(row), np.float32)),) for row in tokens]


def test_packed_segments_are_scored_as_each_alone() -> None:
    """Losses and gradients: padding of the shorter ones changes nothing."""
    model = initialise_lstm(Lstm(VOCAB, 16, 2), seed=1).double()
    groups = documents([5, 1, 17, 2])
    together = model(collate(groups))
    alone = torch.cat([model(collate([group])) for group in groups])
    assert torch.allclose(together, alone, atol=1e-12)
    gradients = []
    for batches in ([collate(groups)], [collate([group]) for group in groups]):
        model.zero_grad()
        for batch in batches:
            cross_entropy(model, batch)[0]["loss"].backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for first, second in zip(*gradients, strict=True):
        assert torch.allclose(first, second, atol=1e-12)


def test_no_token_sees_a_later_one() -> None:
    model = initialise_lstm(Lstm(VOCAB, 16, 2), seed=1)
    (group,) = documents([12])
    changed = group[0].tokens.copy()
    changed[8] = (changed[8] + 1) % VOCAB
    first, second = model(collate([group])), model(collate([(Example(changed, group[0].weights),)]))
    assert torch.equal(first[:7], second[:7])
    assert not torch.allclose(first[8:], second[8:])


@pytest.mark.parametrize("layers", [1, 3])
def test_the_number_of_parameters_is_exact(layers: int) -> None:
    model = Lstm(VOCAB, 10, layers)
    assert sum(parameter.numel() for parameter in model.parameters()) == lstm_parameters(VOCAB, 10, layers)


@given(st.integers(10, 5000), st.integers(1, 4), st.integers(10_000, 10**8))
def test_the_width_is_the_largest_that_fits(vocab: int, layers: int, parameters: int) -> None:
    width = lstm_width(vocab, layers, parameters)
    assert lstm_parameters(vocab, width, layers) <= parameters < lstm_parameters(vocab, width + 1, layers)


def test_too_few_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="no LSTM of 2 layers and 1000 tokens has only 500 parameters"):
        lstm_width(1000, 2, 500)


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = (initialise_lstm(Lstm(VOCAB, 8, 1), seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
