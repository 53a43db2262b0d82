"""Special tokens and chat-template markers written out in the texts of a conversation."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from tutelage.chat.audit.check import Check, flagged
from tutelage.text.contains import contains_any

# The pattern is tried only on texts that contain one of these.
_HINTS = (
    "<|",
    "INST]",
    "SYS>>",
    "_of_turn>",
    "<bos>",
    "<eos>",
    "<s>",
    "</s>",
    "###",
    "\n\nHuman:",
    "\n\nAssistant:",
    "<｜",
)
_KNOWN_MARKERS = re.compile(
    r"<\|[A-Za-z][\w ]{0,30}\|>|<｜[^<>｜\s]{1,40}｜>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos)>"
    # In HTML <s> strikes words out; as template markers they open and close a text.
    r"|\A<s>|</s>\s*\Z"
    r"|^### ?(?:Instruction|Response|Human|Assistant|Input):?[ \t]*$|^### (?:Human|Assistant): "
    r"|\n\n(?:Human|Assistant): ",
    re.MULTILINE,
)


@dataclass(frozen=True)
class TemplateMarkers:
    """Markers to search for: those of well-known templates, and `names`, a model's own special tokens."""

    names: Collection[str] = ()
    _own: re.Pattern[str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.names:
            # The longest first: a name may begin with another.
            ordered = sorted(self.names, key=lambda name: (-len(name), name))
            object.__setattr__(self, "_own", re.compile("|".join(map(re.escape, ordered))))

    def find(self, text: str) -> int:
        """The character of a text at which the first marker begins; -1 where there is none."""
        if self._own and (match := self._own.search(text)):
            return match.start()
        if contains_any(text, _HINTS) and (match := _KNOWN_MARKERS.search(text)):
            return match.start()
        return -1


SPECIAL_TOKEN = Check(
    "special token",
    "warning",
    "special tokens or another template's markers written out in a text",
    "Remove the markers from the texts: only the template writes them.",
    flagged("special token"),
    auto_fixable=True,
)
