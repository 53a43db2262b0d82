"""What only the extra `corpus` installs: loaded where it is used, so that the core does without."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(name: str) -> Any:
    """The module of that name; ValueError, with what to install, where it cannot be imported."""
    try:
        return import_module(name)
    except ImportError as error:
        missing = getattr(error, "name", None) or name
        raise ValueError(f"{missing} cannot be imported ({error}); run: pip install 'tutelage[corpus]'") from error
