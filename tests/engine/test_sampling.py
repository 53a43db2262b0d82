from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.engine.sampling import SamplingSettings, choose, uniforms

GRID = 4000


def reference(logits: np.ndarray, temperature: float, top_k: int | None, top_p: float) -> np.ndarray:
    """The distribution by its definition: softmax, the k most likely, the smallest set with probability top_p."""
    scaled = logits / temperature
    order = np.argsort(-scaled, kind="stable")[:top_k]
    probabilities = np.exp(scaled[order] - scaled[order].max())
    probabilities /= probabilities.sum()
    kept, mass = 0, 0.0
    while kept < len(order) and mass < top_p:
        mass += probabilities[kept]
        kept += 1
    result = np.zeros(len(logits))
    result[order[:kept]] = probabilities[:kept] / probabilities[:kept].sum()
    return result


def chosen_shares(logits: np.ndarray, settings: SamplingSettings) -> np.ndarray:
    """How often each token is chosen over an even grid of random numbers: the distribution to within 1 / GRID."""
    uniform = torch.from_numpy((np.arange(GRID) + 0.5) / GRID)
    rows = torch.from_numpy(logits.astype(np.float32)).expand(GRID, -1)
    return np.bincount(choose(rows, settings, uniform).numpy(), minlength=len(logits)) / GRID


@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=12, unique=True),
    st.sampled_from([0.3, 1.0, 2.5]),
    st.sampled_from([None, 1, 2, 5, 100]),
    st.sampled_from([0.05, 0.313, 0.77, 0.951, 1.0]),
)
def test_tokens_are_chosen_by_the_distribution(
    tenths: list[int], temperature: float, top_k: int | None, top_p: float
) -> None:
    logits = np.array(tenths) / 10
    settings = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p)
    shares, wanted = chosen_shares(logits, settings), reference(logits, temperature, top_k, top_p)
    np.testing.assert_allclose(shares, wanted, atol=2 / GRID)
    assert (shares[wanted == 0] == 0).all()


def test_greedy_takes_the_most_likely() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, -1.0, 1.9]])
    assert choose(logits, SamplingSettings(), None).tolist() == [1, 0]


def test_the_stream_of_a_row_depends_only_on_its_number() -> None:
    alone, among = uniforms(5, range(3, 4), 20), uniforms(5, range(8), 20)
    assert np.array_equal(alone[0], among[3])
    assert np.array_equal(uniforms(5, range(3, 4), 7)[0], alone[0][:7])
    assert len(np.unique(among)) == among.size
    assert not np.array_equal(uniforms(6, range(3, 4), 20), alone)
    assert (among >= 0).all()
    assert (among < 1).all()


def test_the_largest_random_number_still_chooses_a_kept_token() -> None:
    logits = torch.tensor([[0.0, 0.0, -100.0]])
    largest = torch.tensor([np.nextafter(1.0, 0.0)])
    for settings in (SamplingSettings(temperature=1.0), SamplingSettings(temperature=1.0, top_p=0.9)):
        assert int(choose(logits, settings, largest)) in (0, 1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"temperature": -0.5}, "temperature is -0.5; it must be 0 (greedy) or above"),
        ({"top_k": 0}, "top_k is 0; it must be at least 1, or left out"),
        ({"top_p": 0.0}, "top_p is 0.0; it must lie above 0 and not above 1"),
        ({"top_p": 1.5}, "top_p is 1.5; it must lie above 0 and not above 1"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
    ],
)
def test_invalid_settings_are_one_sentence(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match="is") as error:
        SamplingSettings(**wrong)  # type: ignore[arg-type]
    assert str(error.value) == sentence
