"""What a chat template writes around the texts of a conversation: found by putting words of our own in their place.

A *shape* is a conversation without its texts: its roles, which parts each message has, its tool calls and tools. The
template is rendered with a marker word for every text; what stands between the markers is the skeleton of that shape.
A real rendering must then be the skeleton with the real texts in the markers' places, or it is refused: so nothing a
template does to a text, and nothing it makes of other people's words, can pass for what the assistant wrote.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from tutelage.chat.render.jinja import BEGIN_GENERATED, END_GENERATED, TemplateError
from tutelage.records import Conversation, Message, Part, ToolCall

# Letters and digits alone, so that no template trims, escapes or splits them.
_MARKER = re.compile(r"Qzx(\d+)y(\d+)xzQ")
_GENERATED = re.compile(f"[{BEGIN_GENERATED}{END_GENERATED}]")

Slot = tuple[int, int]  # message, part
Shape = tuple[object, ...]


@dataclass(frozen=True)
class Skeleton:
    """The texts a template writes by itself, and between each two of them the part that stands there.

    text:      the rendering with markers.
    starts:    where each literal starts in it.
    generated: what the template marks as written by the assistant, half-open, in the same coordinates.
    """

    text: str
    literals: tuple[str, ...]
    slots: tuple[Slot, ...]
    starts: tuple[int, ...]
    generated: tuple[tuple[int, int], ...]

    def match(self, text: str, conversation: Conversation) -> list[int] | None:
        """Where each literal starts in a real rendering; None where that is not this skeleton with the texts in it."""
        if not text.startswith(self.literals[0]):
            return None
        starts, position = [0], len(self.literals[0])
        for (message, part), literal in zip(self.slots, self.literals[1:], strict=True):
            last = len(starts) == len(self.slots)
            written = conversation.messages[message].content[part]
            assert not isinstance(written, ToolCall), "tool calls are part of a shape"
            for way in _TRIMMED if conversation.messages[message].role == "assistant" else _WAYS:
                candidate = way(written.text)
                after = position + len(candidate)
                fits = text.startswith(candidate, position) and text.startswith(literal, after)
                if fits and (not last or after + len(literal) == len(text)):
                    break
            else:
                return None
            starts.append(after)
            position = after + len(literal)
        return starts if position == len(text) else None

    def fill(self, texts: Mapping[Slot, str]) -> tuple[str, list[int]]:
        """The skeleton with these texts in it, and where each literal starts."""
        pieces, starts = [self.literals[0]], [0]
        position = len(self.literals[0])
        for slot, literal in zip(self.slots, self.literals[1:], strict=True):
            position += len(texts[slot])
            starts.append(position)
            position += len(literal)
            pieces += (texts[slot], literal)
        return "".join(pieces), starts

    def anchor(self, position: int) -> tuple[int, int]:
        """A place in the rendering with markers as a literal and a character of it, which every real one has too.
        TemplateError for a place inside a marker."""
        literal = bisect_right(self.starts, position) - 1
        offset = position - self.starts[literal]
        if offset > len(self.literals[literal]):
            message, _ = self.slots[literal]
            raise TemplateError(f"it cuts the text of message {message} in two")
        return literal, offset

    def slots_between(self, start: int, stop: int) -> list[Slot]:
        """The parts whose markers begin in this stretch of the rendering with markers."""
        begins = [at + len(literal) for at, literal in zip(self.starts, self.literals, strict=True)]
        return [slot for slot, begin in zip(self.slots, begins, strict=False) if start <= begin < stop]


def shape(conversation: Conversation) -> Shape:
    """All that decides the skeleton of a conversation: blank texts as they are, for no marker stands for them."""
    rows = tuple((m.role, tuple(_kind(part) for part in m.content)) for m in conversation.messages)
    return (rows, conversation.tools)


def _kind(part: Part) -> object:
    return part if isinstance(part, ToolCall) else (type(part).__name__, bool(part.text.strip()) or part.text)


def marked(conversation: Conversation) -> Conversation:
    """The conversation with a marker in place of every text that says something."""
    messages = [
        replace(message, content=tuple(_marked(part, number, place) for place, part in enumerate(message.content)))
        for number, message in enumerate(conversation.messages)
    ]
    return replace(conversation, messages=tuple(messages))


def _marked(part: Part, message: int, place: int) -> Part:
    if isinstance(part, ToolCall) or not part.text.strip():
        return part
    return replace(part, text=f"Qzx{message}y{place}xzQ")


def texts_of(conversation: Conversation) -> dict[Slot, str]:
    """The text of each part that has one."""
    return {
        (number, place): part.text
        for number, message in enumerate(conversation.messages)
        for place, part in enumerate(message.content)
        if not isinstance(part, ToolCall)
    }


def holds_marker(text: str) -> bool:
    """Whether a marker stands in a text."""
    return _MARKER.search(text) is not None


def put(text: str, texts: Mapping[Slot, str]) -> str:
    """A text with these in the markers' places."""
    return _MARKER.sub(lambda found: texts[int(found[1]), int(found[2])], text)


def says(message: Message) -> Iterator[int]:
    """The places of the parts of a message that a marker stands for."""
    return (n for n, part in enumerate(message.content) if not isinstance(part, ToolCall) and part.text.strip())


def read_skeleton(text: str, generated: tuple[tuple[int, int], ...]) -> Skeleton:
    """The skeleton that a rendering with markers, without the marks around generated text, shows."""
    literals, slots, starts, position = [], [], [], 0
    for found in _MARKER.finditer(text):
        literals.append(text[position : found.start()])
        starts.append(position)
        slots.append((int(found[1]), int(found[2])))
        position = found.end()
    return Skeleton(text, (*literals, text[position:]), tuple(slots), (*starts, position), generated)


def without_marks(rendering: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A rendering without what stands around generated text, and where that text is."""
    if BEGIN_GENERATED not in rendering:
        return rendering, ()
    begins: list[int] = []
    ends: list[int] = []
    for count, found in enumerate(_GENERATED.finditer(rendering)):
        (begins if found[0] == BEGIN_GENERATED else ends).append(found.start() - count)
    if len(begins) != len(ends):
        raise TemplateError("it holds a character that no text may hold (U+FDD0 or U+FDD1); remove it")
    return _GENERATED.sub("", rendering), tuple(zip(begins, ends, strict=True))


# What templates are known to do to a text before they write it; anything else is refused. What the assistant says is
# trained on, and may only be trimmed.
_TRIMMED: tuple[Callable[[str], str], ...] = (
    str,
    str.strip,
    lambda text: text.strip("\n"),
    str.lstrip,
    str.rstrip,
    lambda text: text.lstrip("\n"),
    lambda text: text.rstrip("\n"),
)
_WAYS: tuple[Callable[[str], str], ...] = (
    *_TRIMMED,
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(text.strip(), ensure_ascii=False)[1:-1],
)


def writes_call(text: str, call: ToolCall) -> bool:
    """Whether a text names the function and every value of a tool call, in a way that templates write them."""
    values = _leaves(json.loads(call.arguments))
    return call.name in text and all(any(way in text for way in _value_ways(value)) for value in values)


def _value_ways(value: object) -> tuple[str, ...]:
    dumped = json.dumps(value, ensure_ascii=False)
    return (str(value), dumped, json.dumps(value), json.dumps(dumped, ensure_ascii=False)[1:-1], repr(value))


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value]


def tool_name(tool: str) -> str:
    """The name of the function that a tool's JSON text describes."""
    described: Mapping[str, object] = json.loads(tool)
    function = described.get("function", described)
    return str(function.get("name", "")) if isinstance(function, dict) else ""
