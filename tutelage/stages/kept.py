"""The models of steps that a stage keeps beside its own: RUN/STAGE@STEP."""

from __future__ import annotations

import glob
from pathlib import Path


def kept_folder(folder: Path, step: int) -> Path:
    """Where the weights of a step are kept: RUN/STAGE@STEP."""
    return folder.with_name(f"{folder.name}@{step}")


def kept_steps(folder: Path) -> list[int]:
    """The steps of a stage whose weights are kept, in order."""
    steps = (other.name.rpartition("@")[2] for other in folder.parent.glob(f"{glob.escape(folder.name)}@*"))
    return sorted(int(step) for step in steps if step.isdecimal())


def kept_models(folder: Path) -> dict[int, Path]:
    """The folder of each kept step, in order."""
    return {step: kept_folder(folder, step) for step in kept_steps(folder)}
