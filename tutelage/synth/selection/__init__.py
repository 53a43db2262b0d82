"""Choosing a few rows of many: one selection per file. To add one: a file here, and its name in SELECTIONS."""

from __future__ import annotations

from collections.abc import Callable

from tutelage.synth.selection import dedup, deita, difficulty, diversity, judged, lima, limo, longest, s1, success
from tutelage.synth.selection.candidates import Candidates, Decision

SELECTIONS: dict[str, Callable[[Candidates], Decision]] = {
    "difficulty": difficulty.select,
    "success": success.select,
    "judged": judged.select,
    "longest": longest.select,
    "diversity": diversity.select,
    "deita": deita.select,
    "lima": lima.select,
    "limo": limo.select,
    "s1": s1.select,
    "dedup": dedup.select,
}
