"""Looking for words in texts before any pattern is tried: most texts hold none, and that must cost next to nothing."""

from __future__ import annotations

from collections.abc import Iterable


def holds_any(text: str, words: Iterable[str]) -> bool:
    """Whether a text holds one of these; a plain loop, which is several times faster than `any` with a generator."""
    for word in words:  # noqa: SIM110
        if word in text:
            return True
    return False
