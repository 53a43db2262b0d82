"""How a chat template writes tool calls, learned from what it writes for two probe calls, so that generated calls are
read back whatever the format: Hermes' `<tool_call>`, Llama 3's bare JSON, Mistral's list, and others whose arguments
are a JSON object after the name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property

import msgspec

from tutelage.records import Conversation, Message, ToolCall, message

NAMES = ("zqfirst", "zqsecond")
ARGUMENTS = '{"zqkey": "zqvalue"}'
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class CallFormat:
    """The literals around calls: opening NAME middle ARGUMENTS (between NAME middle ARGUMENTS)* closing. `between` is
    "" where the template writes one call a turn. White space in them matches any white space."""

    opening: str
    middle: str
    between: str
    closing: str

    @property
    def marker(self) -> str:
        """What opens a call, without white space around it."""
        return self.opening.strip()

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str] | None, re.Pattern[str]]:
        opening, between = _loose(self.opening.strip()), _loose(self.between.strip())
        name = r"([^\s\"{}]{1,200}?)"
        return (
            re.compile(rf"\s*{opening}\s*{name}\s*{_loose(self.middle.strip())}\s*(?=\{{)"),
            re.compile(rf"\s*{between}\s*{name}\s*{_loose(self.middle.strip())}\s*(?=\{{)"),
            re.compile(rf"\s*{between}") if between else None,
            re.compile(rf"\s*{_loose(self.closing.strip())}"),
        )

    def parse(self, text: str) -> tuple[str, list[ToolCall], str] | None:
        """The text before the calls of a turn, the calls, and the text after them; None where there is no call, or one
        is malformed. The arguments keep every character."""
        first, further, between, closing = self._patterns
        if (match := first.search(text)) is None:
            return None
        before, calls = text[: match.start()], []
        while True:
            call = _read(match[1], text, match.end())
            if call is None:
                return None
            calls.append(call[0])
            following = further.match(text, call[1]) if between else None
            if following is None:
                break
            match = following
        end = closing.match(text, call[1])
        return None if end is None else (before, calls, text[end.end() :])


def _read(name: str, text: str, start: int) -> tuple[ToolCall, int] | None:
    """A call whose arguments begin at `start`, and where they end."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        msgspec.json.decode(text[start:end])  # stricter: no NaN
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None
    return (ToolCall(name, text[start:end]), end) if isinstance(value, dict) else None


def _loose(literal: str) -> str:
    """A pattern of a literal in which white space, or none beside a sign, matches any."""
    return r"\s+".join(re.escape(part) for part in literal.split())


def probe_conversations() -> tuple[Conversation, Conversation]:
    """Conversations with one call and with two, from which a format is learned."""
    parameters = '{"type": "object", "properties": {"zqkey": {"type": "string", "description": "Which."}}}'
    functions = (f'{{"name": "{name}", "description": "Does it.", "parameters": {parameters}}}' for name in NAMES)
    tools = tuple(f'{{"type": "function", "function": {function}}}' for function in functions)
    calls = tuple(ToolCall(name, ARGUMENTS, f"call{number}zqid") for number, name in enumerate(NAMES))
    asked = message("user", "Go")
    return (
        Conversation((asked, Message("assistant", calls[:1])), tools=tools),
        Conversation((asked, Message("assistant", calls)), tools=tools),
    )


def learn_call_format(one: str, two: str) -> CallFormat | None:
    """The format, from the turns that a template writes for the probe conversations, without the token that ends them;
    `two` is "" where it refuses two calls. None where it cannot be learned: the arguments are no JSON object after the
    name, or an id of the call stands between.

    A format that has been learned reads its own turns back; that is checked.
    """
    cut = _cut(one, 1)
    if cut is None:
        return None
    (opening, middle, closing), double = cut, _cut(two, 2)
    between = ""
    if double is not None and (double[0], double[1], double[3], double[4]) == (opening, middle, middle, closing):
        between = double[2]
    found = CallFormat(opening, middle, between, closing)
    expected = [ToolCall(name, ARGUMENTS) for name in NAMES]
    for text, calls in ((one, expected[:1]), *(((two, expected),) if between else ())):
        parsed = found.parse(text) if found.marker else None
        if parsed is None or [_plain(call) for call in parsed[1]] != [_plain(call) for call in calls]:
            return None
    return found


def _cut(text: str, count: int) -> tuple[str, ...] | None:
    """The literals of a turn around `count` names and as many arguments."""
    literals, place = [], 0
    for name in NAMES[:count]:
        start = text.find(name, place)
        brace = text.find("{", start + len(name))
        if start < 0 or brace < 0:
            return None
        read = _read(name, text, brace)
        if read is None or _plain(read[0]) != _plain(ToolCall(name, ARGUMENTS)):
            return None
        literals += [text[place:start], text[start + len(name) : brace]]
        place = read[1]
    return None if any("zqid" in part for part in (*literals, text[place:])) else (*literals, text[place:])


def _plain(call: ToolCall) -> tuple[str, object]:
    return call.name, json.loads(call.arguments)
