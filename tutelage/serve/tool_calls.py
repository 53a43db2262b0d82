"""Tool calls while they are written: the name as soon as it is complete, then the arguments, character by character.

What is sent of the arguments is always a part of what the model wrote, never a completed or corrected text. The same
machine makes streamed and whole answers, so that they agree also where a call is malformed or cut off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from tutelage.chat.render.template import parse_call

# As published templates and Tutelage's own write a call; other orders of the fields are read once the call is complete.
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)', re.DOTALL)


@dataclass
class ToolCallReader:
    """Reads the text between the markers of one call.

    name:      the function's name, once it is known.
    arguments: what was read of the arguments so far.
    """

    name: str | None = None
    arguments: str = ""
    held: str = ""
    depth: int = 0
    in_string: bool = False
    escaped: bool = False
    complete: bool = False

    def push(self, text: str) -> str:
        """The part of the arguments that this text adds."""
        if self.name is None:
            self.held += text
            head = _HEAD.match(self.held)
            if head is None:
                return ""
            try:
                self.name = msgspec.json.decode(head[1], type=str)
            except msgspec.DecodeError:
                return ""
            text, self.held = self.held[head.end() :], ""
        end = self._end(text)
        self.arguments += text[:end]
        return text[:end]

    def finish(self) -> str:
        """At the end of the call: the arguments of a call in another form than `push` reads; `held` stays filled where
        the text is no call."""
        if self.name is not None or (call := parse_call(self.held.strip())) is None:
            return ""
        self.name, self.arguments, self.held, self.complete = call.name, call.arguments, "", True
        return call.arguments

    def _end(self, text: str) -> int:
        """How many characters of a text still belong to the arguments."""
        for place, character in enumerate(text):
            if self.complete:
                return place
            if self.escaped:
                self.escaped = False
            elif self.in_string:
                self.escaped, self.in_string = character == "\\", character != '"'
            elif character == '"':
                self.in_string = True
            else:
                self.depth += (character in "{[") - (character in "}]")
                self.complete = self.depth == 0
        return len(text)
