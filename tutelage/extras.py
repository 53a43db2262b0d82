"""Lazy import of packages that only an extra installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(name: str, extra: str = "corpus") -> Any:
    """Import a module. Raises ValueError, with what to install, if that fails."""
    try:
        return import_module(name)
    except ImportError as error:
        missing = getattr(error, "name", None) or name
        raise ValueError(f"{missing} cannot be imported ({error}); run: pip install 'tutelage[{extra}]'") from error
