from __future__ import annotations

import math

import numpy as np
import pytest

from tutelage.scaling.hyperparameters import PUBLISHED, batch_band, fit_setting, lr_band, scaled_decay, scaled_settings

LRS = np.geomspace(1e-4, 1e-2, 9)


def test_published_laws() -> None:
    """DeepSeek at 1e20 FLOPs; both laws at 1B parameters and 100B tokens, where they differ by a factor of two."""
    deepseek = PUBLISHED["DeepSeek LLM"]
    assert deepseek.lr is not None
    assert deepseek.batch is not None
    assert deepseek.lr(1e9, 1e20 / 6e9, 1, 1) == pytest.approx(9.86e-4, rel=1e-3)
    assert deepseek.batch(1e9, 1e20 / 6e9) == pytest.approx(1.017e6, rel=1e-3)
    band = lr_band(1e9, 1e11, 2048, 1e6)
    assert band["DeepSeek LLM"] == pytest.approx(7.9e-4, abs=5e-6)
    assert band["Step Law"] == pytest.approx(1.6e-3, abs=5e-5)
    assert set(batch_band(1e9, 1e11)) == {"DeepSeek LLM", "Step Law"}


def test_the_law_of_exact_sweeps() -> None:
    sweeps = {}
    for size in (1e6, 1e7, 1e8):
        best = 3e-2 * size**-0.25
        sweeps[size] = (LRS, 3 + 0.1 * np.log(LRS / best) ** 2)
    law = fit_setting(sweeps, bootstraps=50)
    assert law.exponent.value == pytest.approx(-0.25, rel=1e-9)
    setting, decades = law.at(1e10)
    assert setting.value == pytest.approx(3e-2 * 1e10**-0.25, rel=1e-6)
    assert decades == pytest.approx(2)
    assert all(curve.parabola.inside for curve in law.curves.values())


def test_rates_at_which_training_diverges_do_not_move_the_optimum() -> None:
    """Pain: of a sweep whose upper half had diverged to one loss, the parabola's minimum was the lowest rate."""
    sweeps = {
        size: (LRS, np.minimum(3 + 0.3 * np.log(LRS / (9e-3 * size**-0.25)) ** 2, 3.6)) for size in (1e4, 1e5, 1e6)
    }
    law = fit_setting(sweeps, bootstraps=50)
    assert law.exponent.value == pytest.approx(-0.25, rel=0.02)
    assert all(curve.parabola.inside for curve in law.curves.values())


def test_noise_gives_an_interval() -> None:
    rng = np.random.default_rng(0)
    sweeps = {
        size: (LRS, 3 + 0.1 * np.log(LRS / (3e-2 * size**-0.25)) ** 2 + 0.01 * rng.standard_normal(9))
        for size in (1e6, 1e7, 1e8)
    }
    law = fit_setting(sweeps)
    assert law.exponent.low < -0.25 < law.exponent.high
    assert law.exponent.low < law.exponent.high


def test_a_sweep_that_has_no_minimum_is_refused() -> None:
    edge = (LRS, 3 + 0.1 * np.log(LRS / 1e-1) ** 2)
    law = fit_setting({1e6: edge, 1e7: edge}, bootstraps=10)
    assert not law.curves[1e6].parabola.inside
    with pytest.raises(ValueError, match=r"sweep at 1e\+06 has no minimum"):
        fit_setting({1e6: (LRS, 3 - 0.1 * np.log(LRS) ** 2), 1e7: edge})
    with pytest.raises(ValueError, match="has 3 values"):
        fit_setting({1e6: (LRS[:3], LRS[:3]), 1e7: edge})
    with pytest.raises(ValueError, match="two sizes or more"):
        fit_setting({1e6: edge})


def test_the_learning_rate_grows_with_the_root_of_the_batch() -> None:
    lr, batch = scaled_settings(1e-3, 2**19, 1e10, 1e11)
    assert batch == 2**20
    assert lr == pytest.approx(1e-3 * math.sqrt(2))
    assert scaled_settings(1e-3, 2**19, 1e10, 1e10) == (1e-3, 2**19)


def nanochat_tokens(depth: int) -> float:
    """Of nanochat's models, up to the ratio that all share: weights of matrices, and the output embedding."""
    width = 64 * depth
    return 12 * depth * width**2 + 32_768 * width


def test_nanochats_batches_by_depth() -> None:
    """2^18 to 2^21 tokens, from 2^19 at depth 12 (karpathy/nanochat, dev/LOG.md, MIT licence)."""
    batches = {8: 18, 10: 19, 12: 19, 16: 19, 18: 20, 26: 20, 32: 21, 50: 21}
    for depth, power in batches.items():
        assert scaled_settings(1.0, 2**19, nanochat_tokens(12), nanochat_tokens(depth))[1] == 2**power


def test_nanochats_decay_by_width() -> None:
    """Printed 0.40, 0.22, 0.10 and 0.08 at widths 512, 768, 1024 and 1280; one reference value gives all of them."""
    found = []
    for depth in (8, 12, 16, 20):
        tokens = nanochat_tokens(depth)
        batch = scaled_settings(1.0, 2**19, nanochat_tokens(12), tokens)[1]
        found.append(scaled_decay(0.2154, 2**19, nanochat_tokens(12), batch, tokens))
    assert [round(decay, 2) for decay in found] == [0.40, 0.22, 0.10, 0.08]
