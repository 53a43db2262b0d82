"""What a chat template writes around the texts of a conversation, found with sentinel words in place of the texts.

The *structure* of a conversation is all but its texts: its roles, which parts each message has, its tool calls and
tools. The template is rendered with a sentinel for every text, and what it writes between the sentinels is the outline
of that structure. For one user message, ChatML gives

    <|im_start|>user\\nQzx0y0xzQ<|im_end|>\\n     literals "<|im_start|>user\\n" and "<|im_end|>\\n", one slot (0, 0)

A real rendering must be the outline with the real texts in the slots, or the conversation is refused. So nothing that
a template does to a text, and no other role's text, can pass for what the assistant wrote.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tutelage.chat.render.jinja import BEGIN_GENERATED, END_GENERATED, TemplateError
from tutelage.records import Conversation, Message, Part, ToolCall, ToolResult

# Letters and digits only, so that no template trims, escapes or splits them.
_SENTINEL = re.compile(r"Qzx(\d+)y(\d+)xzQ")
_GENERATED = re.compile(f"[{BEGIN_GENERATED}{END_GENERATED}]")

Slot = tuple[int, int]  # message, part
StructureKey = tuple[object, ...]


@dataclass(frozen=True)
class Outline:
    """What a template writes by itself (L literals), and the part between each two of them (L - 1 slots).

    text:      the rendering with sentinels.
    starts:    where each literal starts in it.
    generated: what the template's {% generation %} blocks cover of it, half-open.
    """

    text: str
    literals: tuple[str, ...]
    slots: tuple[Slot, ...]
    starts: tuple[int, ...]
    generated: tuple[tuple[int, int], ...]

    def match(self, text: str, conversation: Conversation) -> list[int] | None:
        """Where each literal starts in a real rendering; None where that is not this outline with the texts in it."""
        if not text.startswith(self.literals[0]):
            return None
        starts, position = [0], len(self.literals[0])
        for (message, part), literal in zip(self.slots, self.literals[1:], strict=True):
            last = len(starts) == len(self.slots)
            written = conversation.messages[message].content[part]
            assert not isinstance(written, ToolCall), "tool calls are part of the structure"
            for change in _TRIMS if conversation.messages[message].role == "assistant" else _CHANGES:
                candidate = change(written.text)
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
        """The outline with these texts in it, and where each literal starts."""
        pieces, starts = [self.literals[0]], [0]
        position = len(self.literals[0])
        for slot, literal in zip(self.slots, self.literals[1:], strict=True):
            position += len(texts[slot])
            starts.append(position)
            position += len(literal)
            pieces += (texts[slot], literal)
        return "".join(pieces), starts

    def offset(self, position: int) -> tuple[int, int]:
        """A place in the rendering with sentinels as (literal, character of it), which is valid in every rendering.
        TemplateError for a place inside a sentinel."""
        literal = bisect_right(self.starts, position) - 1
        offset = position - self.starts[literal]
        if offset > len(self.literals[literal]):
            message, _ = self.slots[literal]
            raise TemplateError(f"it cuts the text of message {message} in two")
        return literal, offset

    def slots_between(self, start: int, stop: int) -> list[Slot]:
        """The parts whose sentinels begin between two places of the rendering with sentinels."""
        begins = [at + len(literal) for at, literal in zip(self.starts, self.literals, strict=True)]
        return [slot for slot, begin in zip(self.slots, begins, strict=False) if start <= begin < stop]


def structure_key(conversation: Conversation) -> StructureKey:
    """All that decides the outline of a conversation; blank texts as they are, because they get no sentinel."""
    rows = tuple((m.role, m.name, m.trained, tuple(map(_kind, m.content))) for m in conversation.messages)
    return (rows, conversation.tools, conversation.template_settings)


def _kind(part: Part) -> object:
    if isinstance(part, ToolCall):
        return part
    answers = part.call_id if isinstance(part, ToolResult) else ""
    return (type(part).__name__, answers, bool(part.text.strip()) or part.text)


def with_sentinels(conversation: Conversation) -> Conversation:
    """The conversation with a sentinel in place of every text that is not blank."""
    messages = [
        replace(message, content=tuple(_sentinel(part, number, place) for place, part in enumerate(message.content)))
        for number, message in enumerate(conversation.messages)
    ]
    return replace(conversation, messages=tuple(messages))


def _sentinel(part: Part, message: int, place: int) -> Part:
    if isinstance(part, ToolCall) or not part.text.strip():
        return part
    return replace(part, text=f"Qzx{message}y{place}xzQ")


def part_texts(conversation: Conversation) -> dict[Slot, str]:
    """The text of each part that has one."""
    return {
        (number, place): part.text
        for number, message in enumerate(conversation.messages)
        for place, part in enumerate(message.content)
        if not isinstance(part, ToolCall)
    }


def holds_sentinel(text: str) -> bool:
    """Whether a text holds a sentinel."""
    return _SENTINEL.search(text) is not None


def fill_sentinels(text: str, texts: Mapping[Slot, str]) -> str:
    """A text with these texts in place of the sentinels."""
    return _SENTINEL.sub(lambda found: texts.get((int(found[1]), int(found[2])), found[0]), text)


def sentinel_end(text: str, message: int) -> int:
    """Where the last sentinel of a message ends in a text; -1 where there is none."""
    return max((sentinel.end() for sentinel in _SENTINEL.finditer(text) if int(sentinel[1]) == message), default=-1)


def sentinel_parts(message: Message) -> Iterator[int]:
    """The places of the parts of a message that get a sentinel."""
    return (place for place, part in enumerate(message.content) if not isinstance(part, ToolCall) and part.text.strip())


def read_outline(text: str, generated: tuple[tuple[int, int], ...]) -> Outline:
    """The outline of a rendering with sentinels, as `split_generated` returns it."""
    literals, slots, starts, position = [], [], [], 0
    for sentinel in _SENTINEL.finditer(text):
        literals.append(text[position : sentinel.start()])
        starts.append(position)
        slots.append((int(sentinel[1]), int(sentinel[2])))
        position = sentinel.end()
    return Outline(text, (*literals, text[position:]), tuple(slots), (*starts, position), generated)


def split_generated(rendering: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A rendering without the marks around generated text, and where that text is."""
    if BEGIN_GENERATED not in rendering:
        return rendering, ()
    begins: list[int] = []
    ends: list[int] = []
    for count, mark in enumerate(_GENERATED.finditer(rendering)):
        (begins if mark[0] == BEGIN_GENERATED else ends).append(mark.start() - count)
    if len(begins) != len(ends):
        raise TemplateError("it holds a character that no text may hold (U+FDD0 or U+FDD1); remove it")
    return _GENERATED.sub("", rendering), tuple(zip(begins, ends, strict=True))


# What templates are known to do to a text before they write it; anything else is refused. Text of the assistant is
# trained, and may only be trimmed.
_TRIMS: tuple[Callable[[str], str], ...] = (
    str,
    str.strip,
    lambda text: text.strip("\n"),
    str.lstrip,
    str.rstrip,
    lambda text: text.lstrip("\n"),
    lambda text: text.rstrip("\n"),
)
_CHANGES: tuple[Callable[[str], str], ...] = (
    *_TRIMS,
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(text.strip(), ensure_ascii=False)[1:-1],
)


def writes_calls(text: str, calls: Sequence[ToolCall]) -> bool:
    """Whether a text names the function of each call as often as it is called, and every value, in a form that
    templates write them in. The values alone would not do: those of a call that is left out may be parts of another's.
    """
    names = Counter(call.name for call in calls)
    values = [value for call in calls for value in _leaves(json.loads(call.arguments))]
    return all(text.count(name) >= count for name, count in names.items()) and all(
        any(form in text for form in _value_forms(value)) for value in values
    )


def _value_forms(value: object) -> tuple[str, ...]:
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
