from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.engine.sampling import DrawStream, SamplingSettings, choose, penalise

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
    return np.bincount(choose(rows, settings, uniform)[0].numpy(), minlength=len(logits)) / GRID


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
    assert choose(logits, SamplingSettings(), None)[0].tolist() == [1, 0]


def test_a_draw_depends_on_seed_prompt_sample_and_position_alone() -> None:
    def numbers(seed: int, prompt: int, sample: int, positions: range) -> list[float]:
        stream = DrawStream(seed, prompt, sample)
        return [stream[position] for position in positions]

    forwards = numbers(5, 3, 1, range(150))
    assert numbers(5, 3, 1, range(149, -1, -1)) == forwards[::-1]
    others = [numbers(seed, prompt, sample, range(150)) for seed, prompt, sample in ((6, 3, 1), (5, 4, 1), (5, 3, 2))]
    assert len({*forwards, *others[0], *others[1], *others[2]}) == 600
    assert all(0 <= number < 1 for number in forwards)


def test_the_largest_random_number_still_chooses_a_kept_token() -> None:
    logits = torch.tensor([[0.0, 0.0, -100.0]])
    largest = torch.tensor([np.nextafter(1.0, 0.0)])
    for settings in (SamplingSettings(temperature=1.0), SamplingSettings(temperature=1.0, top_p=0.9)):
        assert int(choose(logits, settings, largest)[0]) in (0, 1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"temperature": -0.5}, "temperature is -0.5; it must be 0 (greedy) or above"),
        ({"top_k": 0}, "top_k is 0; it must be at least 1, or left out"),
        ({"top_p": 0.0}, "top_p is 0.0; it must lie above 0 and not above 1"),
        ({"top_p": 1.5}, "top_p is 1.5; it must lie above 0 and not above 1"),
        ({"min_p": -0.1}, "min_p is -0.1; it must lie between 0 and 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; it must be above 0; 1 is none"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
    ],
)
def test_invalid_settings_are_one_sentence(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match="is") as error:
        SamplingSettings(**wrong)  # type: ignore[arg-type]
    assert str(error.value) == sentence


def test_min_p_and_repetition_penalty_are_those_of_transformers() -> None:
    from transformers import MinPLogitsWarper, RepetitionPenaltyLogitsProcessor

    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)) * 3
    ids = [[1, 2, 2, 7], [3, 49, 0, 1], [5, 5, 5, 5]]
    settings = SamplingSettings(temperature=1.0, min_p=0.05, repetition_penalty=1.7)
    theirs = RepetitionPenaltyLogitsProcessor(penalty=1.7)(torch.tensor(ids), logits.clone())
    ours = penalise(logits, settings, [(row, row[2:]) for row in ids])
    torch.testing.assert_close(ours, theirs)
    wanted = MinPLogitsWarper(min_p=0.05)(torch.tensor(ids), theirs).softmax(-1)
    for row in range(3):
        np.testing.assert_allclose(chosen_shares(ours[row].numpy(), settings), wanted[row], atol=2 / GRID)


def test_presence_and_frequency_penalties_count_the_answer_alone() -> None:
    settings = SamplingSettings(presence_penalty=0.5, frequency_penalty=0.25)
    penalised = penalise(torch.zeros(1, 6), settings, [([0, 0, 1, 2, 2, 5], [1, 2, 2, 5])])
    assert penalised.tolist() == [[0.0, -0.75, -1.0, 0.0, 0.0, -0.75]]


def test_the_logprob_is_that_of_the_distribution_drawn_from() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    settings = SamplingSettings(temperature=2.0, top_k=3, top_p=0.7)  # keeps the first two
    tokens, logprobs = choose(logits.expand(200, -1), settings, torch.linspace(0, 0.999, 200, dtype=torch.float64))
    share = 1 / (1 + np.exp(-0.5))
    assert set(tokens.tolist()) == {0, 1}
    np.testing.assert_allclose(logprobs.exp(), np.where(tokens == 0, share, 1 - share))
