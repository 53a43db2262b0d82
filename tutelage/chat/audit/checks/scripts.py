"""Answers in another script than their question, and conversations in a script that few rows have."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tutelage.chat.audit.check import AuditedFile, Check, Exchange, Hit, flagged
from tutelage.chat.audit.language import SCRIPTS, answers_in_other_script

# A script is rare below the first share where the most frequent one has the second.
RARE, MAIN = 0.05, 0.8


def find_other_script(exchange: Exchange) -> int:
    """An answer in another script than its question, which asks neither for a translation nor for code."""
    return 0 if answers_in_other_script(exchange.question, exchange.answer) else -1


def _rare(file: AuditedFile) -> Iterator[Hit]:
    scripts = file.scan.features["script"]
    counts = np.bincount(scripts, minlength=len(SCRIPTS))
    counts[0] = 0  # undetermined
    if len(scripts) and counts.max() >= MAIN * counts.sum():
        rare = [script for script in range(1, len(SCRIPTS)) if 0 < counts[script] < RARE * counts.sum()]
        detail = ", ".join(f"{SCRIPTS[script]} ({counts[script]:,})" for script in rare)
        yield Hit(np.flatnonzero(np.isin(scripts, rare)), detail=detail)


OTHER_LANGUAGE = Check(
    "other language",
    "warning",
    "answers in another script than their question",
    "Read some of them; leave them out unless they are translations.",
    flagged("other language"),
    in_answer=find_other_script,
    show_question=True,
)
RARE_LANGUAGE = Check(
    "rare language",
    "warning",
    "conversations in a script that few rows have",
    "Leave them out, or add more of them: so few teach nothing and are noise to the rest.",
    _rare,
)
