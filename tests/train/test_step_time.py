from __future__ import annotations

from collections.abc import Callable

import pytest

from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer
from tutelage.train import step_time
from tutelage.train.optimizers import OptimizerSettings
from tutelage.train.step_time import shallow, step_seconds


def test_the_time_of_a_deep_model_is_that_of_shallow_ones_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of one block and two of what is not in blocks: 10 blocks take 22."""

    def measured(config: object, *rest: object) -> float:
        return 2.0 + 2.0 * config.depth  # type: ignore[attr-defined]

    monkeypatch.setattr(step_time, "_measure", measured)
    config = resolve(ModelSettings(depth=10, width=32), 100)
    seconds = step_seconds(config, lambda model: None, OptimizerSettings(), [8], 1.0, 64, "float32")
    assert seconds == pytest.approx(22)


def test_real_steps_are_measured_on_copies_prepared_as_for_training() -> None:
    depths: list[int] = []
    prepare: Callable[[Transformer], None] = lambda model: depths.append(model.config.depth)  # noqa: E731
    config = resolve(ModelSettings(depth=5, width=32), 100)
    assert step_seconds(config, prepare, OptimizerSettings(), [8, 12], 0.5, 16, "float32") > 0
    assert depths == [1, 3]
    assert shallow(config, 3).depth == 3
