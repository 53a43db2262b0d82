"""A verifier of the user, imported by name. It is trusted like the recipe that names it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from tutelage.scoring.score import Gold, Score


def load(name: str) -> Callable[[str, Gold], Score | bool]:
    """The function "package.module:function". Raises ValueError where the name leads to none."""
    module, _, attribute = name.partition(":")
    try:
        return cast(Callable[[str, Gold], Score | bool], getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"verifier {name!r} cannot be imported ({error}); it must be package.module:function"
        ) from error


def function(answer: str, gold: Gold, *, name: str) -> Score:
    """Calls the function with answer and gold; it returns a Score, or whether the answer is right.

    Raises ValueError where it returns something else.
    """
    result = load(name)(answer, gold)
    if isinstance(result, bool):
        return Score("right" if result else "wrong", answer)
    if not isinstance(result, Score):
        raise ValueError(f"verifier {name!r} returned {result!r}; it must return a Score or a bool")
    return result
