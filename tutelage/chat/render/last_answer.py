"""The last answer of a conversation as a model writes it, where a template writes it otherwise as history.

Two kinds of templates need it. That of DeepSeek R1 opens a thought in its prompt, and leaves thoughts out of answers:

    prompt    <｜Assistant｜><think>\\n
    history   <｜Assistant｜>Six.<｜end▁of▁sentence｜>
    trained   <｜Assistant｜><think>\\nFour and two.\\n</think>\\n\\nSix.<｜end▁of▁sentence｜>

That of GLM-4 ends an answer with the header of the next turn, so that the last one has no end:

    history   <|assistant|>\\nSix.<|user|>\\nSure?
    trained   <|assistant|>\\nSix.<|user|>
"""

from __future__ import annotations

import re

EMPTY_THOUGHT = "answers without reasoning, trained after an empty thought: the template's prompt opens one"

_OPENED = re.compile(r"<think>\s*\Z")


def continued(prompt: str, history: str, reasoning: str) -> str | None:
    """The text that continues a prompt which opens a thought; None where the prompt opens none, or where the template
    writes something else as history.

    prompt:    what generation continues from.
    history:   the conversation as the template writes it.
    reasoning: that of its last answer; may be empty.
    """
    opened = _OPENED.search(prompt)
    if opened is None or not history.startswith(prompt[: opened.start()]):
        return None
    answer = history[opened.start() :]
    if answer.lstrip().startswith("<think>"):
        return None
    return f"{prompt}{reasoning.strip()}\n</think>\n\n" + answer.lstrip("\n")


def ended(text: str, followed: str, end_names: re.Pattern[str]) -> str | None:
    """A text up to and with the token that opens the turn after it; None where no such token follows at once.

    followed: the text with a user turn after it.
    """
    end = end_names.match(followed, len(text)) if followed.startswith(text) else None
    return followed[: end.end()] if end else None
