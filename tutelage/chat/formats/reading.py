"""Files to conversations, preferences and prompts. Broken rows are counted by reason; too many of them are an error."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from tutelage.chat.formats.conversations import FORMATS, read_template_settings
from tutelage.chat.formats.preferences import BINARY_LABELS, PREFERENCE_FORMATS, binary_label, preference
from tutelage.chat.formats.prompts import PROMPT_FORMATS, task
from tutelage.chat.formats.tools import NOT_OFFERED, calls_not_offered
from tutelage.chat.formats.turns import (
    LOSS_MARKS,
    ROW_LOSS_MARKS,
    Dialogue,
    check_learnable,
    check_text_only,
    clean,
    loss_mark,
    until_last_answer,
    with_message_lists,
)
from tutelage.chat.formats.unread import UNREAD, ReadRow, unread_fields
from tutelage.config import suggest
from tutelage.io.data_files import data_files
from tutelage.io.row import BrokenRow, Row
from tutelage.io.rows import rows
from tutelage.ledger import Ledger
from tutelage.records import AnyPreference, Conversation, Split, Task, message

EMPTY = "file without rows"  # a note in the ledger, for one of several files
# Added to errors about a table or a spreadsheet.
READABLE = (
    'supported are JSON lines, a JSON list, Parquet or CSV, plain or compressed, such as a line {"prompt": "...", '
    '"completion": "..."} for each conversation'
)
MAX_BROKEN_START = 100  # a file whose first rows are all broken is no file of conversations
BROKEN_SHOWN = 3

Item = TypeVar("Item")


class ExcludedRow(BrokenRow):
    """A row that says of itself that it is not to be learned from: dropped, and not counted as broken."""


class TooManyBrokenRows(ValueError):
    """A larger share of a file's rows is broken than the settings allow."""


class _RowFormat(Protocol):
    @property
    def recognises(self) -> Callable[[Row], bool]: ...


_Formats = Mapping[str, _RowFormat]


def detect(row: Row) -> str:
    """The name in FORMATS of the format of a row; BrokenRow if it is in none."""
    return _detect(row, FORMATS)


def _detect(row: Row, formats: _Formats) -> str:
    for name, format_ in formats.items():
        if format_.recognises(row):
            return name
    others = PREFERENCE_FORMATS if formats is FORMATS else FORMATS
    if formats is PROMPT_FORMATS:
        raise BrokenRow("no known format", f"{_fields(row)}; a row needs a prompt, such as 'prompt' or 'messages'")
    if any(format_.recognises(row) for format_ in others.values()):
        kind = "preferences, not conversations" if formats is FORMATS else "conversations, not preferences"
        raise BrokenRow("no known format", f"these are {kind}")
    if "parent_id" in row or "parent_message_id" in row:
        raise BrokenRow("no known format", "one message of a tree; use the file of complete trees, with their replies")
    raise BrokenRow("no known format", f"{_fields(row)}; known: {', '.join(formats)}")


def _fields(row: Row) -> str:
    return "its fields: " + (", ".join(repr(name[:40]) for name in list(row)[:8]) or "none")


def _is_row(row: Row) -> bool:
    return any(format_.recognises(row) for table in (FORMATS, PREFERENCE_FORMATS) for format_ in table.values())


def find_format(path: Path) -> str:
    """The name in FORMATS of the format of a file, or of the first file with rows in a folder.

    Raises:
        DiskError, ValueError: as `read_conversations`; or none of the first 100 rows is in a known format.
    """
    fault = ""
    for file in data_files(path):
        for number, (place, row) in enumerate(rows(file, _is_row)):
            if number == MAX_BROKEN_START:
                break
            try:
                if isinstance(row, BrokenRow):
                    raise row
                if row is not None:
                    return detect(row)
            except BrokenRow as error:
                fault = fault or f": {place}: {error}{_readable(error)}"
        if fault:
            break
    raise ValueError(f"{path} has no row in a known format{fault}")


def find_preference_format(path: Path) -> str | None:
    """The name in PREFERENCE_FORMATS of the format of the first readable row of a file or folder; None where that row
    is a conversation, or no row can be read."""
    for file in data_files(path):
        for number, (_, row) in enumerate(rows(file, _is_row)):
            if number == MAX_BROKEN_START:
                break
            if row is None or isinstance(row, BrokenRow):
                continue
            conversation = any(format_.recognises(row) for format_ in FORMATS.values())
            if conversation and binary_label(row) is None:
                return None
            return next((name for name, format_ in PREFERENCE_FORMATS.items() if format_.recognises(row)), None)
    return None


def _readable(fault: BrokenRow) -> str:
    """The supported files, if a row shows that its file is of another kind."""
    return f"; {READABLE}" if fault.reason in ("not JSON", "invalid UTF-8") else ""


def read_conversations(
    path: Path, ledger: Ledger, max_broken: float = 0.01, format: str | None = None, split: Split = "train"
) -> Iterator[Conversation]:
    """The conversations of a file, or of the files that `data_files` finds under a folder or a pattern; `split` decides
    only where the names of a folder's files say several splits.

    A file is JSON lines, a JSON list, a JSON object with one list (up to 64 MiB), Parquet, Arrow, CSV or TSV, also
    compressed. Its first row in one of FORMATS decides the format, unless `format` names it. A row that cannot be
    trained on is dropped, with its place and reason in `ledger`; so are blank lines, which count as neither good nor
    broken. Corrections of a row are noted there. A conversation's id is "FILE:LINE" or "FILE#ROW", with the file's name
    but not its folder, so that the same rows are held out wherever the file is. The conversations of one row share its
    id, so that they are held out together. Memory does not grow with the file.

    Raises:
        DiskError: a file cannot be read.
        ValueError: there is no such format; or a file is damaged; or there are no rows; or the first 100 rows of a file
            are all broken; or, at its end, more than the share `max_broken` of its rows are. The message names the
            first broken rows.
    """
    return _read_files(path, ledger, max_broken, format, FORMATS, _conversations, split)


def read_preferences(
    path: Path, ledger: Ledger, max_broken: float = 0.01, format: str | None = None, split: Split = "train"
) -> Iterator[AnyPreference]:
    """The preferences of a file in one of PREFERENCE_FORMATS; all else as `read_conversations`."""
    return _read_files(path, ledger, max_broken, format, PREFERENCE_FORMATS, _preferences, split)


def read_tasks(
    path: Path, ledger: Ledger, max_broken: float = 0.01, gold_after: str | None = None, split: Split = "train"
) -> Iterator[Task]:
    """The prompts of a file with their gold answers: what follows the last `gold_after` of the answer, or all of it;
    all else as `read_conversations`."""

    def make(row: Row, format_name: str, place: str) -> tuple[list[Task], list[str]]:
        check_text_only(row)
        return task(row, format_name, place, gold_after)

    return _read_files(path, ledger, max_broken, None, PROMPT_FORMATS, make, split)


def _read_files(
    path: Path,
    ledger: Ledger,
    max_broken: float,
    format_name: str | None,
    formats: _Formats,
    make: Callable[[Row, str, str], tuple[list[Item], list[str]]],
    split: Split,
) -> Iterator[Item]:
    if not 0 <= max_broken <= 1:
        raise ValueError(f"max_broken is a share of rows from 0 to 1, not {max_broken}")
    if format_name is not None and format_name not in formats:
        raise ValueError(f"there is no format '{format_name}'{suggest(format_name, formats)}")
    # Listed before the first row is requested, so that a wrong path is an error in the call.
    return _read_each(path, data_files(path, split), ledger, max_broken, format_name, formats, make)


def _read_each(
    path: Path,
    files: Sequence[Path],
    ledger: Ledger,
    max_broken: float,
    format_name: str | None,
    formats: _Formats,
    make: Callable[[Row, str, str], tuple[list[Item], list[str]]],
) -> Iterator[Item]:
    """Reads one file after the other. Files without rows are noted in the ledger if there are several."""
    read = 0
    for file in files:
        count = yield from _read_file(file, ledger, max_broken, format_name, formats, make)
        read += count
        if count == 0 and len(files) > 1:
            ledger.note(EMPTY, where=file.name)
    if read == 0:
        raise ValueError(f"{path} has no rows; write one conversation per line, as a JSON object")


def _read_file(
    path: Path,
    ledger: Ledger,
    max_broken: float,
    format_name: str | None,
    formats: _Formats,
    make: Callable[[Row, str, str], tuple[list[Item], list[str]]],
) -> Generator[Item, None, int]:
    """The items of a file; returns the number of its rows without blank lines."""
    count = broken = 0
    first: list[str] = []
    another_kind = ""
    for place, row in rows(path, _is_row):
        ledger.read()
        if row is None:
            ledger.drop("blank line")
            continue
        count += 1
        try:
            if isinstance(row, BrokenRow):
                raise row
            format_name = format_name or _detect(row, formats)
            if not formats[format_name].recognises(row):
                raise BrokenRow("another format than the file's", f"which is '{format_name}'; {_fields(row)}")
            try:
                items, notes = make(with_message_lists(row), format_name, place)
            except RecursionError as error:  # trees, and the JSON arguments of calls
                raise BrokenRow("nested too deep") from error
        except ExcludedRow as error:
            ledger.drop(error.reason, where=place)
        except BrokenRow as error:
            broken += 1
            another_kind = _readable(error) if broken == count else ""
            ledger.drop(error.reason, where=f"{place}: {error}")
            if len(first) < BROKEN_SHOWN:
                first.append(f"{place}: {error}")
            if broken == count == MAX_BROKEN_START:
                break
        else:
            for note in notes:
                ledger.note(note, where=place)
            ledger.split(len(items))
            yield from items
    if broken == count == MAX_BROKEN_START:
        problem = f"{path}: the first {count} rows are all broken: {'; '.join(first)}"
        raise ValueError(f"{problem}{another_kind or '; name a file with one conversation per line, as a JSON object'}")
    if count and broken / count > max_broken:
        problem = f"{path}: {broken:,} of {count:,} rows are broken, more than max_broken = {max_broken:g} allows"
        fix = "; correct the rows, or raise max_broken (--max-broken) to leave them out"
        raise TooManyBrokenRows(
            f"{problem}: {'; '.join(first)}{another_kind if broken == count and another_kind else fix}"
        )
    return count


def _conversations(row: Row, format_name: str, place: str) -> tuple[list[Conversation], list[str]]:
    check_text_only(row)
    if binary_label(row) is not None:
        detail = "its label says whether it is good, but all would be trained on; use a preference stage"
        raise BrokenRow("an answer with a label", detail)
    # In a row, a number under the other names may be a measurement.
    marks = {name: row.get(name) for name in LOSS_MARKS if name in ROW_LOSS_MARKS or isinstance(row.get(name), bool)}
    if not loss_mark(marks, "the row"):
        raise ExcludedRow("row marked as not to be learned")
    read = ReadRow(row)
    settings = read_template_settings(read)
    conversations, notes = [], []
    for dialogue in FORMATS[format_name].read(read):
        turns, corrections = _learnable(dialogue)
        conversations.append(Conversation(turns, place, tools=dialogue.tools, template_settings=settings))
        if calls_not_offered(turns, dialogue.tools):
            corrections.append(NOT_OFFERED)
        notes += [note for note in corrections if note not in notes]
    if unread := unread_fields(read, {*ROW_LOSS_MARKS, *marks, *BINARY_LABELS}):
        notes.append(f"{UNREAD}{unread}")
    return conversations, notes


def _learnable(dialogue: Dialogue) -> tuple[tuple, list[str]]:
    turns, notes = clean(dialogue.messages)
    turns = until_last_answer(turns, notes)
    check_learnable(turns)
    return tuple(turns), [*dialogue.notes, *dict.fromkeys(notes)]


def _preferences(row: Row, format_name: str, place: str) -> tuple[list[AnyPreference], list[str]]:
    check_text_only(row)
    item, notes = preference(PREFERENCE_FORMATS[format_name].read(row), row, place)
    return [item], notes


class _Prompt(msgspec.Struct, forbid_unknown_fields=True):
    set: str
    prompt: str


def read_prompts(path: Path) -> dict[str, list[Conversation]]:
    """The prompts of a file of `{"set", "prompt"}` rows, by set, as conversations of one user message each.

    Blank lines are skipped; ids are as in `read_conversations`.

    Raises:
        DiskError: the file cannot be read.
        ValueError: a row is broken (the message has file and line), or there is none.
    """
    sets: dict[str, list[Conversation]] = {}
    for file in data_files(path):
        for place, raw in rows(file, lambda row: "prompt" in row):
            if raw is None:
                continue
            try:
                row = msgspec.convert(_unbroken(raw), _Prompt)
            except (BrokenRow, msgspec.ValidationError) as error:
                expected = "a row is {'set': ..., 'prompt': ...}; correct it"
                raise ValueError(f"{file.with_name(place)}: {error}; {expected}") from error
            if not row.set.strip() or not row.prompt.strip():
                raise ValueError(f"{file.with_name(place)}: an empty set or prompt; fill it or remove the line")
            sets.setdefault(row.set, []).append(Conversation((message("user", row.prompt),), place))
    if not sets:
        raise ValueError(f"{path} has no rows; write one {{'set': ..., 'prompt': ...}} per line")
    return sets


def _unbroken(row: Row | BrokenRow) -> dict[str, Any]:
    if isinstance(row, BrokenRow):
        raise row
    return dict(row)
