"""A step of the user's own, from a Python file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.config import Settings
from tutelage.corpus.batch import DocumentBatch, Step


class PythonSettings(Settings, tag="python", tag_field="kind", frozen=True, kw_only=True):
    """Runs a function of a Python file on every batch of documents. It changes the batch in place, by the methods of
    `DocumentBatch`: `drop`, `rewrite`, `split`, `note`, `add_metadata`. What it drops is counted by its reasons.

    file:     a Python file; a changed file runs the step again.
    function: the name of the function in it, which takes a `DocumentBatch`.
    """

    file: str
    function: str = "step"


def user_step(settings: PythonSettings) -> Step:
    """The function of the file. Raises ValueError if the file or the function is missing, or the file fails."""
    names: dict[str, Any] = {"__name__": "tutelage_user_step", "__file__": settings.file}
    try:
        source = Path(settings.file).read_text("utf-8")
    except OSError as error:
        raise ValueError(f"file: {settings.file} cannot be read ({error.strerror})") from error
    try:
        exec(compile(source, settings.file, "exec"), names)
    except Exception as error:
        raise ValueError(f"file: {settings.file} fails: {type(error).__name__}: {error}") from error
    function = names.get(settings.function)
    if not callable(function):
        raise ValueError(f"function: {settings.file} defines no function '{settings.function}'; name it with function")

    def step(batch: DocumentBatch) -> None:
        function(batch)

    return step
