"""Conversations that a template has no place for as they are, written so that it has; every change is noted.

The same changes are made to what is trained and to prompts, so a model is asked as it was trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tutelage.records import Conversation, Message, Part, Reasoning, Text, ToolCall, ToolResult, message

REASONING_AS_TEXT = "reasoning written into the answer, in <think> tags: the template has no place for it"
SYSTEM_FOLDED = "a system message put before the first question: the template takes none"
OWN_IDS = "call ids made up: the template refuses those of the data"
NAMES_LOST = "names of speakers, which the template does not write"
SETTINGS_LOST = "template settings that the template does not read"


def is_plain(conversation: Conversation) -> bool:
    """Whether a conversation is nothing but texts, without names and settings: nothing of it can need a change."""
    return not conversation.template_settings and all(
        not turn.name and all(type(part) is Text for part in turn.content) for turn in conversation.messages
    )


def has_reasoning(conversation: Conversation) -> bool:
    """Whether an assistant turn has reasoning."""
    return any(isinstance(part, Reasoning) for turn in conversation.messages for part in turn.content)


def reasoning_as_text(conversation: Conversation) -> Conversation:
    """The conversation with reasoning as text before the answer: "<think>\\nIt is cold.\\n</think>\\n\\nStay in." """
    messages = (replace(turn, content=_as_text(turn.content)) for turn in conversation.messages)
    return replace(conversation, messages=tuple(messages))


def _as_text(parts: Iterable[Part]) -> tuple[Part, ...]:
    written: list[Part] = []
    for part in parts:
        if isinstance(part, Reasoning):
            part = Text(f"<think>\n{part.text.strip()}\n</think>\n\n")
        if isinstance(part, Text) and written and isinstance(before := written[-1], Text):
            part = Text(before.text + part.text)
            written.pop()
        written.append(part)
    return tuple(written)


def system_folded(conversation: Conversation) -> Conversation:
    """The conversation with its opening system message at the beginning of the first question, a blank line between."""
    system, *turns = conversation.messages
    first = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
    if system.role != "system" or first is None:
        return conversation
    turns[first] = replace(turns[first], content=message("user", f"{system.text}\n\n{turns[first].text}").content)
    return replace(conversation, messages=tuple(turns))


def has_ids(conversation: Conversation) -> bool:
    """Whether the calls of a conversation have ids."""
    return any(isinstance(part, ToolCall) and part.id for turn in conversation.messages for part in turn.content)


def without_ids(conversation: Conversation) -> Conversation:
    """The conversation without the ids of its calls, whose results are in the order of the calls."""
    return replace(conversation, messages=tuple(map(_without_ids, conversation.messages)))


def _without_ids(turn: Message) -> Message:
    parts = []
    for part in turn.content:
        if isinstance(part, ToolCall):
            part = replace(part, id="")
        elif isinstance(part, ToolResult):
            part = replace(part, call_id="")
        parts.append(part)
    return replace(turn, content=tuple(parts))
