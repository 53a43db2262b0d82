from __future__ import annotations

import numpy as np

from tutelage.scaling.huber import huber, log_sum, minimise


def test_huber_is_quadratic_within_delta_and_linear_beyond() -> None:
    assert np.allclose(huber(np.array([0.0, 5e-4, -1e-3, 1e-2])), [0, 1.25e-7, 5e-7, 9.5e-6], rtol=1e-12)


def test_no_nearby_parameters_have_a_lower_objective() -> None:
    """The minimum is one, also where most residuals lie beyond delta."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 80))
    features = np.zeros((80, 3, 5))
    features[:, 0, 0] = features[:, 1, 1] = features[:, 2, 3] = 1
    features[:, 1, 2], features[:, 2, 4] = -x, -y
    truth = np.array([[0.5, 0.1, 0.4, 0.2, 0.3]])
    target = log_sum(features, truth)[0] + 0.02 * rng.standard_t(3, 80)
    found = minimise(features, target, np.repeat(truth + 0.3, 2, 0), np.ones((2, 80)))
    assert found.converged_B.all()
    assert np.ptp(found.objective_B) < 1e-12

    def objective(parameters: np.ndarray) -> np.ndarray:
        return huber(log_sum(features, parameters) - target).sum(1)

    assert np.allclose(objective(found.parameters_BM), found.objective_B, rtol=1e-12)
    for size in (1e-2, 1e-3, 1e-4):
        nearby = found.parameters_BM[0] + size * rng.normal(size=(500, 5))
        assert objective(nearby).min() >= found.objective_B[0] * (1 - 1e-9)


def test_fits_of_a_batch_do_not_influence_each_other() -> None:
    rng = np.random.default_rng(1)
    features = np.stack([np.ones(30), rng.normal(size=30)], 1)[:, None, :]
    target = rng.normal(size=30) * 0.1
    counts = rng.multinomial(30, np.full(30, 1 / 30), 8).astype(float)
    together = minimise(features, target, np.zeros((8, 2)), counts)
    for number in range(8):
        alone = minimise(features, target, np.zeros((1, 2)), counts[number : number + 1])
        assert np.allclose(alone.parameters_BM[0], together.parameters_BM[number], rtol=1e-6, atol=1e-8)
