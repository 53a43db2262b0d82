"""Answers without content: dots, "N/A", "TODO"."""

from __future__ import annotations

import re

from tutelage.chat.audit.check import Check, Exchange, flagged

_NO_CONTENT = re.compile(
    r"(?:[.…_*#=~\s]+|-{2,}"
    r"|\W*(?:n/?a|nan|null|todo|tbd|fixme|xxx|#ref!|lorem ipsum.*|no ?output|no ?input)\W*)",
    re.DOTALL,
)


def find_placeholder_answer(exchange: Exchange) -> int:
    """An answer without words, or of one word that means that there is no answer."""
    return 0 if len(exchange.answer) < 80 and _NO_CONTENT.fullmatch(exchange.lower.strip()) else -1


PLACEHOLDER_ANSWER = Check(
    "placeholder answer",
    "warning",
    "answers without content",
    "Write the answers, or leave the rows out.",
    flagged("placeholder answer"),
    auto_fixable=True,
    in_answer=find_placeholder_answer,
    show_question=True,
)
