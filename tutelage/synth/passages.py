"""Documents to passages for a model, and its replies without what it says before them."""

from __future__ import annotations

import re

from tutelage.synth.method import Drop

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_PREAMBLE = re.compile(
    r"\s*(?:sure|certainly|of course|okay|ok|here(?:'s| is| are)|below is|the following is)\b[^\n]{0,120}[:!.]\s*\n+",
    re.IGNORECASE,
)


def pieces(text: str, max_words: int) -> list[str]:
    """A text in parts of whole sentences, each of at most `max_words` words if its sentences allow."""
    parts: list[str] = []
    words = 0
    for sentence in _SENTENCE_END.split(text.strip()):
        length = len(sentence.split())
        if parts and words + length <= max_words:
            parts[-1], words = f"{parts[-1]} {sentence}", words + length
        else:
            parts.append(sentence)
            words = length
    return parts


def without_preamble(text: str) -> str:
    """A reply without a line such as "Here is the text:" at its beginning. Drop where nothing else is in it."""
    rest = _PREAMBLE.sub("", text, count=1) if _PREAMBLE.match(text) else text
    if not rest.strip():
        raise Drop("empty reply", text)
    return rest.strip()
