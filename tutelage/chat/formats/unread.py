"""Which fields of a row its format does not read, so that nothing that is meant to be learned is lost in silence."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from tutelage.chat.formats.tools import TOOL_FIELDS
from tutelage.chat.formats.turns import MESSAGE_FIELDS

UNREAD = "fields that are not read: "  # begins a note in the ledger; their names follow
# Names of a row and where it comes from, which say nothing about what is learned.
_NAMES = ("id", "dialogue_id", "lineage")
_CONTENT = frozenset(("content", "value", "tool_calls"))  # one of them makes an object a message
_SHOWN = 8
_SHOWN_CHARS = 40


class ReadRow(dict[str, Any]):
    """A row that remembers which of its fields have been asked for."""

    def __init__(self, row: Any) -> None:
        super().__init__(row)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of any dict."""
        self.asked.add(name)
        return super().get(name, default)


def unread_fields(row: ReadRow, others: Collection[str]) -> str:
    """The names of filled fields that have not been asked for, those of messages as "messages.name"; "" where all have
    been. `others` have been read elsewhere."""
    read = {*row.asked, *others, *_NAMES}
    unread = [name for name, value in row.items() if name not in read and _filled(value)]
    lists = [(field, value) for field, value in row.items() if type(value) is list and field in row.asked]
    nested = {f"{field}.{name}" for field, messages in lists for name in _of_messages(messages)}
    names = [name[:_SHOWN_CHARS] for name in (*unread, *sorted(nested))]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _of_messages(messages: list[Any]) -> Iterator[str]:
    """The filled fields of a list of messages that `turns.read_message` does not read."""
    for message in messages:
        if isinstance(message, dict) and not _CONTENT.isdisjoint(message):
            for name in message.keys() - MESSAGE_FIELDS:
                if _filled(message[name]) and name not in TOOL_FIELDS:
                    yield name


def _filled(value: object) -> bool:
    return value is not None and value not in ("", [], {})
