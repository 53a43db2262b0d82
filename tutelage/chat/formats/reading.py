"""Files to conversations, preferences and prompts: every broken row counted and named, too many of them refused."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from tutelage.chat.formats.conversations import FORMATS
from tutelage.chat.formats.preferences import PREFERENCE_FORMATS, preference, verdict
from tutelage.chat.formats.rows import BrokenRow, Row, data_files, rows
from tutelage.chat.formats.turns import Dialogue, refuse_media, refuse_unlearnable, tidy, until_last_answer
from tutelage.config import suggest
from tutelage.ledger import Ledger
from tutelage.records import Conversation, Preference, UnpairedPreference, message

EMPTY = "file without rows"  # what a ledger notes of one among others
# What a person who gives a table or a spreadsheet needs to know.
READABLE = (
    'what can be read is JSON lines, a JSON list or Parquet, plain, .gz or .zst, such as a line {"prompt": "...", '
    '"completion": "..."} for each conversation'
)
ROWS_TO_JUDGE = 100  # a file whose first rows are all broken is no file of conversations: why read the rest?
BROKEN_SHOWN = 3

Made = TypeVar("Made")


class _Recogniser(Protocol):
    @property
    def recognises(self) -> Callable[[Row], bool]: ...


_Formats = Mapping[str, _Recogniser]


def detect(row: Row) -> str:
    """The name in FORMATS of the format that a row is in; BrokenRow if it is in none."""
    return _detect(row, FORMATS)


def _detect(row: Row, formats: _Formats) -> str:
    for name, format_ in formats.items():
        if format_.recognises(row):
            return name
    others = PREFERENCE_FORMATS if formats is FORMATS else FORMATS
    if any(format_.recognises(row) for format_ in others.values()):
        found = "preferences, not conversations" if formats is FORMATS else "conversations, not preferences"
        raise BrokenRow("no known format", f"these are {found}")
    if "parent_id" in row or "parent_message_id" in row:
        raise BrokenRow("no known format", "one message of a tree; give the file of whole trees, with their replies")
    raise BrokenRow("no known format", f"{_fields(row)}; known: {', '.join(formats)}")


def _fields(row: Row) -> str:
    return "its fields: " + (", ".join(repr(name[:40]) for name in list(row)[:8]) or "none")


def _is_row(row: Row) -> bool:
    return any(format_.recognises(row) for table in (FORMATS, PREFERENCE_FORMATS) for format_ in table.values())


def find_format(path: Path) -> str:
    """The name in FORMATS of the format that a file, or the first with rows of a folder, is read in.

    Raises:
        DiskError, ValueError: as `read_conversations`; or none of the first 100 rows is in a known format.
    """
    fault = ""
    for file in data_files(path):
        for number, (place, row) in enumerate(rows(file, _is_row)):
            if number == ROWS_TO_JUDGE:
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


def _readable(fault: BrokenRow) -> str:
    """What can be read, where a row shows that its file is of another kind."""
    return f"; {READABLE}" if fault.reason in ("not JSON", "invalid UTF-8") else ""


def read_conversations(
    path: Path, ledger: Ledger, max_broken: float = 0.01, format: str | None = None
) -> Iterator[Conversation]:
    """The conversations of a file, or of the files that `data_files` finds under a folder or a pattern.

    A file is JSON lines, a JSON list, a JSON object that holds one (up to 64 MiB) or Parquet, plain, gzipped or zst;
    its first row in one of FORMATS decides which that is, unless `format` names it. A row that is no conversation to
    learn from is dropped, with its place and reason in `ledger`; so are blank lines, which count as neither good nor
    broken; what was mended in a row is noted there. Each conversation's id is "FILE:LINE" or "FILE#ROW", with the
    file's name but not its folder, so that the same rows are held out wherever the file lies; the conversations of one
    row share its id, so that they are held out together. Memory does not grow with the file.

    Raises:
        DiskError: a file cannot be read.
        ValueError: there is no such format; or a file is damaged; or there are no rows; or the first 100 rows of a file
            are all broken; or, at its end, more than the share `max_broken` of its rows are. The sentence names the
            first of them.
    """
    return _read_files(path, ledger, max_broken, format, FORMATS, _conversations)


def read_preferences(
    path: Path, ledger: Ledger, max_broken: float = 0.01, format: str | None = None
) -> Iterator[Preference | UnpairedPreference]:
    """The preferences of a file in one of PREFERENCE_FORMATS; all else as `read_conversations`."""
    return _read_files(path, ledger, max_broken, format, PREFERENCE_FORMATS, _preferences)


def _read_files(
    path: Path,
    ledger: Ledger,
    max_broken: float,
    format_name: str | None,
    formats: _Formats,
    make: Callable[[Row, str, str], tuple[list[Made], list[str]]],
) -> Iterator[Made]:
    if not 0 <= max_broken <= 1:
        raise ValueError(f"max_broken is a share of rows from 0 to 1, not {max_broken}")
    if format_name is not None and format_name not in formats:
        raise ValueError(f"there is no format '{format_name}'{suggest(format_name, formats)}")
    # Found before the first row is asked for, so that a wrong path is told where it is given.
    return _read_each(path, data_files(path), ledger, max_broken, format_name, formats, make)


def _read_each(
    path: Path,
    files: Sequence[Path],
    ledger: Ledger,
    max_broken: float,
    format_name: str | None,
    formats: _Formats,
    make: Callable[[Row, str, str], tuple[list[Made], list[str]]],
) -> Iterator[Made]:
    """One file after the other; those of several that have no rows are noted in the ledger."""
    read = 0
    for file in files:
        count = yield from _read_file(file, ledger, max_broken, format_name, formats, make)
        read += count
        if count == 0 and len(files) > 1:
            ledger.note(EMPTY, where=file.name)
    if read == 0:
        raise ValueError(f"{path} has no rows; write one conversation a line into it, as a JSON object")


def _read_file(
    path: Path,
    ledger: Ledger,
    max_broken: float,
    format_name: str | None,
    formats: _Formats,
    make: Callable[[Row, str, str], tuple[list[Made], list[str]]],
) -> Generator[Made, None, int]:
    """What is made of a file's rows; at its end how many they are, blank lines left out."""
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
                made, notes = make(row, format_name, place)
            except RecursionError as error:  # trees, and the arguments of calls, which are JSON of their own
                raise BrokenRow("nested too deep") from error
        except BrokenRow as error:
            broken += 1
            another_kind = _readable(error) if broken == count else ""
            ledger.drop(error.reason, where=f"{place}: {error}")
            if len(first) < BROKEN_SHOWN:
                first.append(f"{place}: {error}")
            if broken == count == ROWS_TO_JUDGE:
                break
        else:
            for note in notes:
                ledger.note(note, where=place)
            ledger.split(len(made))
            yield from made
    if broken == count == ROWS_TO_JUDGE:
        found = f"{path}: the first {count} rows are all broken: {'; '.join(first)}"
        raise ValueError(f"{found}{another_kind or '; name a file with one conversation a line, as a JSON object'}")
    if count and broken / count > max_broken:
        found = f"{path}: {broken:,} of {count:,} rows are broken, more than max_broken = {max_broken:g} allows"
        cure = "; mend the rows, or raise max_broken (--max-broken) to leave them out"
        raise ValueError(f"{found}: {'; '.join(first)}{another_kind if broken == count and another_kind else cure}")
    return count


def _conversations(row: Row, format_name: str, place: str) -> tuple[list[Conversation], list[str]]:
    refuse_media(row)
    if verdict(row) is not None:
        told = "label says which answers are bad, and all would be learned from; use a preference stage"
        raise BrokenRow("an answer with a verdict", told)
    made, notes = [], []
    for dialogue in FORMATS[format_name].read(row):
        turns, mended = _learnable(dialogue)
        made.append(Conversation(turns, place, tools=dialogue.tools))
        notes += [note for note in mended if note not in notes]
    return made, notes


def _learnable(dialogue: Dialogue) -> tuple[tuple, list[str]]:
    turns, notes = tidy(dialogue.messages)
    turns = until_last_answer(turns, notes)
    refuse_unlearnable(turns)
    return tuple(turns), [*dialogue.notes, *notes]


def _preferences(row: Row, format_name: str, place: str) -> tuple[list[Preference | UnpairedPreference], list[str]]:
    refuse_media(row)
    made, notes = preference(PREFERENCE_FORMATS[format_name].read(row), row, place)
    return [made], notes


class _Prompt(msgspec.Struct, forbid_unknown_fields=True):
    set: str
    prompt: str


def read_prompts(path: Path) -> dict[str, list[Conversation]]:
    """The prompts of a file of `{"set", "prompt"}` rows, by set, as conversations of one user message each.

    Blank lines are skipped; their ids are as in `read_conversations`.

    Raises:
        DiskError: the file cannot be read.
        ValueError: a row is broken, the sentence naming file and line, or there is none.
    """
    sets: dict[str, list[Conversation]] = {}
    for file in data_files(path):
        for place, found in rows(file, lambda row: "prompt" in row):
            if found is None:
                continue
            try:
                row = msgspec.convert(_unbroken(found), _Prompt)
            except (BrokenRow, msgspec.ValidationError) as error:
                expected = "a row is {'set': ..., 'prompt': ...}: mend it"
                raise ValueError(f"{file.with_name(place)}: {error}; {expected}") from error
            if not row.set.strip() or not row.prompt.strip():
                raise ValueError(f"{file.with_name(place)}: an empty set or prompt; fill it or remove the line")
            sets.setdefault(row.set, []).append(Conversation((message("user", row.prompt),), place))
    if not sets:
        raise ValueError(f"{path} has no rows; write one {{'set': ..., 'prompt': ...}} a line into it")
    return sets


def _unbroken(row: Row | BrokenRow) -> dict[str, Any]:
    if isinstance(row, BrokenRow):
        raise row
    return dict(row)
