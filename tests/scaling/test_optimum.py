from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.scaling.laws import BESIROGLU, HOFFMANN_PRINTED, HOFFMANN_TEX, Chinchilla, llama3_tokens
from tutelage.scaling.optimum import (
    compute_optimal,
    inference_optimal,
    least_compute,
    overtraining_cost,
    tokens_per_parameter,
)


@pytest.mark.parametrize(
    ("law", "ratio", "llama", "at_150"),
    [(HOFFMANN_PRINTED, 92.6, 1.99, 1.04), (HOFFMANN_TEX, 59.1, 2.48, 1.11), (BESIROGLU, 18.4, 5.51, 1.44)],
    ids=["printed", "tex", "besiroglu"],
)
def test_three_sets_of_constants_give_three_answers(law: Chinchilla, ratio: float, llama: float, at_150: float) -> None:
    """Tokens a parameter at Gopher's 5.76e23 FLOPs; 8B parameters on 15T tokens, and at 150 tokens a parameter, in
    units of the least compute of the same loss."""
    assert tokens_per_parameter(law, 5.76e23) == pytest.approx(ratio, abs=0.05)
    assert overtraining_cost(law, 8e9, 15e12) == pytest.approx(llama, abs=0.005)
    assert overtraining_cost(law, 8e9, 150 * 8e9) == pytest.approx(at_150, abs=0.0051)


def test_rounded_exponents_do_not_extrapolate() -> None:
    """Llama 3's law as printed: 10.5e12 tokens at 3.8e25 FLOPs, and not the 16.55e12 of the same paper."""
    assert llama3_tokens(3.8e25) == pytest.approx(10.5e12, rel=5e-3)


def test_besiroglus_exponent() -> None:
    assert BESIROGLU.beta / (BESIROGLU.alpha + BESIROGLU.beta) == pytest.approx(0.5126, abs=5e-5)


@given(st.floats(17, 27), st.floats(-0.5, 0.5).filter(lambda step: abs(step) > 1e-3))
def test_no_other_size_has_a_lower_loss(log_compute: float, step: float) -> None:
    compute = 10.0**log_compute
    best = compute_optimal(BESIROGLU, compute)
    other = best.parameters * 10.0**step
    assert BESIROGLU.loss(other, compute / 6 / other) > BESIROGLU.loss(*best)
    assert least_compute(BESIROGLU, BESIROGLU.loss(*best)) == pytest.approx(compute, rel=1e-6)


def test_a_served_model_is_smaller_and_trained_for_longer() -> None:
    """And without requests it is the compute-optimal one."""
    loss = float(BESIROGLU.loss(*compute_optimal(BESIROGLU, 1e22)))
    none = inference_optimal(BESIROGLU, loss, 0)
    assert none.parameters == pytest.approx(compute_optimal(BESIROGLU, 1e22).parameters, rel=1e-3)
    served = inference_optimal(BESIROGLU, loss, 1e13)
    assert served.parameters < none.parameters / 2
    assert BESIROGLU.loss(*served) == pytest.approx(loss, rel=1e-9)

    def flops(parameters: float, tokens: float) -> float:
        return parameters * (6 * tokens + 2 * 1e13)

    assert flops(*served) < flops(*none)
    for factor in (0.98, 1.02):
        size = served.parameters * factor
        tokens = (BESIROGLU.B / (loss - BESIROGLU.E - BESIROGLU.A / size**BESIROGLU.alpha)) ** (1 / BESIROGLU.beta)
        assert flops(size, tokens) > flops(*served)


def test_a_loss_below_the_floor_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no model reaches a loss of 1\.8"):
        inference_optimal(BESIROGLU, 1.8, 1e12)
    assert least_compute(BESIROGLU, 1.8) == np.inf
