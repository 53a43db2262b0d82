"""Substring search before any pattern is tried: most texts hold none of the words, and that must cost little."""

from __future__ import annotations

from collections.abc import Iterable


def contains_any(text: str, words: Iterable[str]) -> bool:
    """Whether a text contains one of these words; a plain loop is several times faster than `any` with a generator."""
    for word in words:  # noqa: SIM110
        if word in text:
            return True
    return False
