"""Rows that cannot be read, and what the readers have changed in rows or noted about files."""

from __future__ import annotations

from collections.abc import Iterator

from tutelage.chat.audit.check import NO_ROWS, AuditedFile, Check, Hit, Level
from tutelage.chat.audit.scan_result import ExampleRow
from tutelage.chat.formats.reading import EMPTY
from tutelage.chat.formats.tools import NOT_OFFERED
from tutelage.chat.formats.turns import CUT_OFF, END_MARKER
from tutelage.chat.formats.unread import UNREAD
from tutelage.ledger import Ledger, Noted


def _broken(file: AuditedFile) -> Iterator[Hit]:
    """Rows that are no conversation to learn from, a hit for each reason."""
    ledger = file.ledger
    dropped = {reason: entry for reason, entry in ledger.dropped.items() if reason != "blank line"}
    rows = ledger.rows_read - sum(entry.rows for reason, entry in ledger.dropped.items() if reason not in dropped)
    broken = sum(entry.rows for entry in dropped.values())
    level: Level = "error" if broken > file.limits.max_broken * rows else "warning"
    for reason, entry in dropped.items():
        examples = [_placed(where) for where in entry.examples]
        yield Hit(NO_ROWS, examples, reason, level, count=entry.rows, total=rows)


def _placed(where: str) -> ExampleRow:
    place, _, text = where.partition(": ")
    return ExampleRow(-1, place, text)


def _missing_end_marker(file: AuditedFile) -> Iterator[Hit]:
    marked = file.ledger.noted.get(END_MARKER)
    if marked and marked.rows < file.ledger.rows_kept:
        detail = f"{marked.rows:,} have one, the first is {marked.examples[0]}"
        yield Hit(NO_ROWS, detail=detail, count=file.ledger.rows_kept - marked.rows)


def _noted(ledger: Ledger, note: str) -> Iterator[Hit]:
    if entry := ledger.noted.get(note):
        yield _hit(entry)


def _hit(entry: Noted, detail: str = "") -> Hit:
    return Hit(NO_ROWS, [ExampleRow(-1, place) for place in entry.examples], detail, count=entry.rows)


def _unread_fields(file: AuditedFile) -> Iterator[Hit]:
    """Rows with the same unread fields are a hit."""
    for note, entry in file.ledger.noted.items():
        if note.startswith(UNREAD):
            yield _hit(entry, note.removeprefix(UNREAD))


BROKEN_ROW = Check(
    "broken row",
    "error",
    "rows that cannot be read",
    "Correct these rows, or leave them out with --fix, or allow a share of them with --max-broken.",
    _broken,
    auto_fixable=True,
)
MISSING_END_MARKER = Check(
    "missing end marker",
    "warning",
    "answers without the end marker that others have written out",
    "Remove the markers, or write them everywhere. Tutelage removes them and trains the template's own end token after "
    "every answer; a tool that trains the raw text would not learn to stop after these.",
    _missing_end_marker,
)
EMPTY_FILE = Check(
    "empty file",
    "warning",
    "files without rows",
    "Remove them, or write them again: writing may have failed.",
    lambda file: _noted(file.ledger, EMPTY),
)
NO_LAST_ANSWER = Check(
    "no last answer",
    "warning",
    "conversations that end with an unanswered turn",
    "Write the missing answers; without them the last turns are not trained on.",
    lambda file: _noted(file.ledger, CUT_OFF),
)
CALL_NOT_OFFERED = Check(
    "call not offered",
    "warning",
    "calls of functions that the row does not offer",
    "Add the functions to the tools of these rows; else the model learns to call functions that nobody offers.",
    lambda file: _noted(file.ledger, NOT_OFFERED),
)
UNREAD_FIELD = Check(
    "unread field",
    "warning",
    "rows with fields that are not read",
    "If something in them is to be learned, move it into the messages, or name the format with format = in a recipe.",
    _unread_fields,
)
