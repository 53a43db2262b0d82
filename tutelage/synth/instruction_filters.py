"""Which made instructions and answers a text model cannot be trained on: the filters of Self-Instruct and Alpaca, and
what small teachers do besides."""

from __future__ import annotations

import re

MIN_WORDS, MAX_WORDS = 3, 150
# Self-Instruct's words, then those that Alpaca adds, and links: tasks that need eyes, ears or a network.
_IMPOSSIBLE = re.compile(
    r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to|video|audio|music|flowchart|diagram)\b|https?://|\bwww\.",
    re.IGNORECASE,
)

# One sentence that states something: "The soup was cold." It finds 2 of 3,900 instructions that people wrote, and 33 of
# 81 that a model of 135M wrote.
_STATEMENT = re.compile(
    r"(?:the|an?|it|this|that|these|those|there|he|she|they|we|in the|here)\b(?:[^?:.!\n]|[.!](?!\s))*[.!]?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\(?\d+[.)]\s")  # a list whose items are numbered twice: "2. 3. Name a river."


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
    if _NUMBER.match(instruction):
        return "part of a list"
    if _STATEMENT.fullmatch(instruction.strip()):
        return "statement"
    return "" if instruction[0].isascii() and instruction[0].isalnum() else "malformed opening"


def echoes(instruction: str, answer: str) -> bool:
    """Whether an answer is a part of its instruction, and at least half of it: nothing was done."""
    asked, said = (re.findall(r"\w+", text.lower()) for text in (instruction, answer))
    return 2 * len(said) >= len(asked) and f" {' '.join(said)} " in f" {' '.join(asked)} "
