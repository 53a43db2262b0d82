"""Special tokens and the marks of chat templates, written out in the texts of a conversation."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from tutelage.chat.audit.words import holds_any

# What a text must hold for the pattern to be tried at all.
_SIGNS = (
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
_KNOWN = re.compile(
    r"<\|[A-Za-z][\w ]{0,30}\|>|<｜[^<>｜\s]{1,40}｜>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos)>"
    # In HTML <s> strikes words out; as marks they open and close a text.
    r"|\A<s>|</s>\s*\Z"
    r"|^### ?(?:Instruction|Response|Human|Assistant|Input):?[ \t]*$|^### (?:Human|Assistant): "
    r"|\n\n(?:Human|Assistant): ",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Marks:
    """Marks to look for: those of well-known templates, and a model's own special tokens where it is known."""

    names: Collection[str] = ()
    _own: re.Pattern[str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.names:
            # The longest first: a name may begin with another.
            ordered = sorted(self.names, key=lambda name: (-len(name), name))
            object.__setattr__(self, "_own", re.compile("|".join(map(re.escape, ordered))))

    def find(self, text: str) -> int:
        """The character of a text at which a mark stands; -1 where it has none."""
        if self._own and (found := self._own.search(text)):
            return found.start()
        if holds_any(text, _SIGNS) and (found := _KNOWN.search(text)):
            return found.start()
        return -1
