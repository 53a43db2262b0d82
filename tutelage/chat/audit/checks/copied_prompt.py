"""Answers that repeat their prompt."""

from __future__ import annotations

from tutelage.chat.audit.check import Check, Exchange, flagged

_MIN_CHARS = 24  # "hello" is a good answer to "hello"


def find_copied_prompt(exchange: Exchange) -> int:
    """An answer that is its whole prompt, or begins with all of it."""
    question = exchange.question.strip()
    return 0 if len(question) >= _MIN_CHARS and exchange.answer.lstrip().startswith(question) else -1


COPIED_PROMPT = Check(
    "copied prompt",
    "warning",
    "answers that repeat their prompt",
    "Remove the repeated prompt from the answers, or the model will echo its prompts.",
    flagged("copied prompt"),
    auto_fixable=True,
    in_answer=find_copied_prompt,
)
