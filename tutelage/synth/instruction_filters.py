"""Which made instructions a text model cannot be trained on: the filters of Self-Instruct and Alpaca."""

from __future__ import annotations

import re

MIN_WORDS, MAX_WORDS = 3, 150
# Self-Instruct's words, then those that Alpaca adds: tasks that need eyes, ears or a network.
_IMPOSSIBLE = re.compile(
    r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to|video|audio|music|flowchart|diagram)\b", re.IGNORECASE
)


def unusable(instruction: str) -> str:
    """Why an instruction is dropped (2212.10560, section 2.2, and the code of both); "" if it is not."""
    words = instruction.split()
    if len(words) <= MIN_WORDS:
        return "instruction too short"
    if len(words) > MAX_WORDS:
        return "instruction too long"
    if _IMPOSSIBLE.search(instruction):
        return "impossible task"
    if instruction.startswith("Write a program"):
        return "program"
    return "" if instruction[0].isascii() and instruction[0].isalnum() else "malformed opening"
