"""The append-only log of annotations: an event is on the disk before it is acknowledged."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from tutelage.annotate.events import VERSION, Event, LogSettings
from tutelage.files import explain

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


class AnnotationLog:
    """An open log; `events` are those that it held when it was opened."""

    def __init__(self, path: Path, file: int, size: int, events: list[Event]) -> None:
        self.path, self.events = path, events
        self._file, self._size = file, size

    def append(self, *events: Event) -> None:
        """Write events and wait until they are on the disk.

        Raises:
            DiskError: they could not be written, and none of them is in the log.
        """
        data = b"".join(_encode(event) + b"\n" for event in events)
        try:
            at = 0
            while at < len(data):
                at += os.pwrite(self._file, data[at:], self._size + at)
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise explain(error, self.path) from error
        self._size += len(data)


def read_log(path: Path) -> list[Event]:
    """The events of a log; a torn last line, which nobody was told is saved, is left out.

    Raises:
        DiskError: the file cannot be read.
        ValueError: it is no log, or a line of it is damaged; the message names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise explain(error, path, "read") from error
    return _parse(path, data)[0]


@contextmanager
def open_log(path: Path) -> Iterator[AnnotationLog]:
    """A log to write to, made if it is missing; a torn last line is removed. One process at a time has it.

    Raises:
        DiskError, ValueError: as `read_log`; or another process writes to it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise explain(error, path) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process writes to {path}; stop it, or choose another --out") from None
        data = path.read_bytes()
        events, size = _parse(path, data)
        os.ftruncate(file, size)
        folder = os.open(path.parent, os.O_RDONLY)  # the name of a new file must be on the disk too
        os.fsync(folder)
        os.close(folder)
        if size and not data[:size].endswith(b"\n"):
            os.pwrite(file, b"\n", size)
            size += 1
        yield AnnotationLog(path, file, size, events)
    finally:
        os.close(file)


def _parse(path: Path, data: bytes) -> tuple[list[Event], int]:
    """The events, and how many bytes of the file they take."""
    *lines, rest = data.split(b"\n")
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(_decode(line))
        except msgspec.MsgspecError as error:
            fix = "restore the line from a copy, or remove it" if number > 1 else "give the log of `tutelage annotate`"
            raise ValueError(f"{path}:{number} is no event of an annotation log ({error}); {fix}") from None
    size = len(data) - len(rest)
    if rest:
        with suppress(msgspec.MsgspecError):  # a whole event whose line has no end, as editors write it
            events.append(_decode(rest))
            size = len(data)
    for event in events:
        if isinstance(event, LogSettings) and event.version > VERSION:
            raise ValueError(f"{path} was written by a newer version of tutelage; update this one")
    return events, size
