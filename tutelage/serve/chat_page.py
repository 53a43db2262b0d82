"""The chat page."""

from __future__ import annotations

from functools import cache


@cache
def chat_page() -> tuple[str, str]:
    """The page, and its content security policy."""
    return "", ""
