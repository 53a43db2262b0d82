"""All colours of all pages, for light and dark mode, and their style sheet.

Text colours have a contrast of at least 4.5 with their background, marks of at least 3 (WCAG AA); tests measure it.
"""

from __future__ import annotations

import re
from typing import Literal

Mode = Literal["light", "dark"]

# Name -> colour in light mode, colour in dark mode.
PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#fdfdfb", "#14161a"),
    "tint": ("#f3f3ef", "#1d2025"),
    "line": ("#dfdfd9", "#30343b"),
    "ink": ("#1b1e23", "#e5e6e3"),
    "muted": ("#5a616b", "#a0a7b1"),
    "accent": ("#1f5c99", "#7db4ee"),
    "good": ("#1d6b3f", "#6fce96"),
    "bad": ("#a8322a", "#f2938a"),
    "warn": ("#85590a", "#e2b455"),
    "series-1": ("#2166ac", "#6cadf2"),
    "series-2": ("#c04f08", "#f29a52"),
    "series-3": ("#23805a", "#5cc498"),
    "series-4": ("#7a4fb3", "#b89aee"),
    "series-5": ("#b3336b", "#f084b0"),
    "series-6": ("#7d670e", "#d2b64e"),
    "document": ("#50565f", "#b9bfc7"),
    "system": ("#8f2f80", "#e592d6"),
    "user": ("#0b6283", "#62c3e2"),
    "assistant": ("#1d6b3f", "#6fce96"),
    "tool": ("#80560a", "#e2b455"),
}
SERIES = sum(name.startswith("series-") for name in PALETTE)


def variables(mode: Mode) -> str:
    """The palette of one mode as CSS custom properties."""
    return "".join(f"--{name}:{colours[mode == 'dark']};" for name, colours in PALETTE.items())


def both_modes() -> str:
    """The palette as a style sheet: the reader's system chooses the mode, unless the page's button has."""
    dark = f"color-scheme:dark;{variables('dark')}"
    return (
        f":root{{color-scheme:light;{variables('light')}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}}}\n"
    )


def resolved(css: str, mode: Mode) -> str:
    """A style sheet with every `var(--name)` of the palette replaced by its colour."""
    return re.sub(r"var\(--([\w-]+)\)", lambda match: PALETTE[match[1]][mode == "dark"], css)
