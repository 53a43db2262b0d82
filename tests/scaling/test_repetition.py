from __future__ import annotations

import numpy as np
import pytest

from tutelage.scaling.laws import Chinchilla
from tutelage.scaling.optimum import compute_optimal
from tutelage.scaling.repetition import MUENNIGHOFF, repeated_loss, token_value


@pytest.mark.parametrize(
    ("parameters", "tokens", "loss"), [(6.34e9, 242e9, 2.2256440889984477), (8.67e9, 178e9, 2.2269634075087867)]
)
def test_the_published_losses_with_25b_different_tokens(parameters: float, tokens: float, loss: float) -> None:
    assert repeated_loss(parameters, tokens, 25e9) == pytest.approx(loss, rel=1e-14)


def test_the_published_value_of_a_token() -> None:
    assert token_value(np.array([1.0, 4, 16, 40])) == pytest.approx([1, 0.931, 0.661, 0.379], abs=5e-4)


def test_without_repetition_it_is_the_law_itself() -> None:
    """For models up to the size for which the tokens are optimal."""
    assert repeated_loss(1e9, 25e9, 25e9) == pytest.approx(MUENNIGHOFF.law.loss(1e9, 25e9), rel=1e-12)
    assert repeated_loss(1e9, 25e9, 1e12) == pytest.approx(MUENNIGHOFF.law.loss(1e9, 25e9), rel=1e-12)


def test_one_epoch_is_where_excess_parameters_begin() -> None:
    """The optimal size of the unique tokens holds also where alpha and beta differ."""
    law = Chinchilla(1.8, 480.0, 2100.0, 0.34, 0.37)
    constants = MUENNIGHOFF._replace(law=law)
    size, tokens = compute_optimal(law, 1e21)
    assert repeated_loss(size * 0.999, tokens, tokens, constants) == pytest.approx(law.loss(size * 0.999, tokens))
    assert repeated_loss(size * 2, tokens, tokens, constants) > law.loss(size * 2, tokens)
