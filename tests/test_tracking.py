from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tutelage.recipe import load_recipe
from tutelage.runner import Run
from tutelage.tracking import figures, tracker

ROWS = [{"step": 1, "loss": 2.0, "samples": []}, {"step": 2, "loss": 1.5, "dev_eval": {"format": {"rate": 0.5}}}]
WANTED = [(1, {"loss": 2.0}), (2, {"loss": 1.5, "dev_eval.format.rate": 0.5})]
SETTINGS = {"lr": 0.1, "lora": {"rank": 4}, "kind": "sft", "targets": ["q_proj"], "steps": None}


class StandIn(types.ModuleType):
    """A tracker's module: remembers what it is asked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **options: Any) -> StandIn:
            self.calls.append((name, arguments, options))
            return self

        return call

    def of(self, *names: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(arguments, options) for name, arguments, options in self.calls if name in names]


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_every_row_goes_to_the_tracker_with_its_step(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = StandIn(name)
    monkeypatch.setitem(sys.modules, name, module)
    with tracker(name, "mine/sft", tmp_path, SETTINGS) as track:
        track(ROWS)
    sent = [(options["step"], arguments[0]) for arguments, options in module.of("log", "log_metrics")]
    assert sent == WANTED
    assert module.calls[-1][0] in ("finish", "end_run")
    opened = [options for _, options in module.of("init", "start_run")]
    assert opened[0].get("name", opened[0].get("run_name")) == "mine/sft"
    shown = opened[0].get("config") or module.of("log_params")[0][0][0]
    assert shown == {"lr": 0.1, "lora.rank": 4, "kind": "sft"}


def test_no_tracker_is_asked_unless_named(tmp_path: Path) -> None:
    with tracker(None, "mine/sft", tmp_path, SETTINGS) as track:
        track(ROWS)
    assert not any(tmp_path.iterdir())
    assert dict(figures(SETTINGS)) == {"lr": 0.1, "lora.rank": 4}


def test_a_missing_tracker_is_named_before_anything_runs(
    tales: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"^--track wandb needs a package that is missing .*: pip install wandb$"):
        Run(load_recipe(tales), tmp_path / "run", track_with="wandb").run()
    assert not (tmp_path / "run").exists()


def test_tensorboard_has_every_step_of_a_run(tales: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    overrides = ["evaluate={}", "stages.base.steps=3"]
    Run(load_recipe(tales, overrides), tmp_path / "run", track_with="tensorboard").run("base")
    events = reader.EventAccumulator(str(tmp_path / "run" / "base" / "tensorboard"))
    events.Reload()
    assert [scalar.step for scalar in events.Scalars("loss")] == [1, 2, 3]
    assert {"loss", "lr", "gradient_norm", "tokens"} <= set(events.Tags()["scalars"])
