"""Fixes as settings: overrides of the stage that `tutelage run` and `tutelage sft` take as they are printed."""

from __future__ import annotations

import math

from tutelage.config import to_toml_value
from tutelage.doctor.case import Case

MOST_REPLAY = 0.8


def override(case: Case, name: str, value: object) -> str:
    """One setting of the stage."""
    return f"stages.{case.stage.name}.{name}={to_toml_value(value)}"


def lr_times(case: Case, factor: float) -> tuple[str, ...]:
    """Another learning rate; a range test would be refused beside it."""
    found = (override(case, "lr", float(f"{case.stage.info.lr * factor:.2g}")),)
    return (*found, override(case, "find_lr", False)) if case.settings.get("find_lr") else found


def length_times(case: Case, factor: float) -> tuple[str, ...]:
    """More or less training, at least one epoch or step; none where it cannot be less."""
    name = "epochs" if case.settings.get("epochs") is not None else "steps"
    now = case.settings.get(name) or case.stage.info.steps
    then = max(1, math.floor(now * factor) if factor < 1 else math.ceil(now * factor))
    return () if then == now else (override(case, name, then),)


def more_replay(case: Case) -> tuple[str, ...]:
    """Replay of the base model's text, or more of it; none where that text is not known."""
    share = case.replay_share()
    if not case.knows_training_text() or share >= MOST_REPLAY:
        return ()
    return (override(case, "replay", 0.5 if share < 0.5 else MOST_REPLAY),)
