"""Tools of a user's file that misbehave, for test_functions.py."""

import os
import time


def add(left: int, right: int = 1) -> int:
    """Adds two numbers.

    More than the first paragraph is not shown to the model.
    """
    return left + right


def fail() -> str:
    """Raises."""
    raise RuntimeError("it broke")


def hang() -> None:
    """Never returns."""
    while True:
        time.sleep(1)


def leave() -> None:
    """Ends its process."""
    os._exit(7)


def megabyte() -> str:
    """Returns a megabyte, and prints one."""
    print("x" * 1_000_000)
    return "w" * 1_000_000


def odd() -> str:
    """Returns what is no valid text."""
    return "\udcff<|end|>"


def _hidden() -> str:
    """Not offered."""
    return ""


def undocumented() -> str:
    return ""
