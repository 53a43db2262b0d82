"""Files and folders are written whole or not at all, and a disk that refuses is a sentence, not a stack trace.

Everything is written beside its place, forced to disk and renamed, so that a process killed at any instant, or a
machine that loses power, leaves either the old or the new content under a name, never half of one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM = (*_FULL, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
LOCK = ".lock"
LOCK_SECONDS = 10.0  # what a run that was killed has started ends within a few seconds


class DiskError(OSError):
    """The disk refused: full, forbidden or missing. `str(error)` is one sentence for a person."""


def explain(error: OSError, path: Path, action: str = "write") -> DiskError:
    """The error as one sentence that names the path and says what to do. `action` is what failed: "write" or "read"."""
    found = f"cannot {action} {path}: "
    if error.errno in _FULL:
        return DiskError(f"{found}the disk is full ({_free(path)} free); make room and run the same command again")
    if error.errno == errno.EFBIG:
        return DiskError(f"{found}the system allows no file that large; raise its limit (ulimit -f) or the disk's")
    if error.errno in _FORBIDDEN:
        return DiskError(f"{found}permission denied; choose another folder or change its permissions")
    return DiskError(f"{found}{(error.strerror or str(error)).lower()}; check the path")


def _free(path: Path) -> str:
    """The space left on the disk that would hold `path`, in words."""
    existing = next((folder for folder in path.absolute().parents if folder.exists()), Path("/"))
    return f"{shutil.disk_usage(existing).free / 2**20:,.0f} MiB"


def _no_room(error: Exception) -> int | None:
    """The system's number for a disk that has no room, where that is what went wrong."""
    # Writers that are not Python (safetensors) raise their own exceptions, which carry only the system's message.
    return next((n for n in _NO_ROOM if getattr(error, "errno", None) == n or os.strerror(n) in str(error)), None)


@contextmanager
def _own_errors(path: Path) -> Iterator[None]:
    """Turns what the system refuses while `path` is put in place into a DiskError."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        raise explain(error, path) from error


@contextmanager
def _body_errors(path: Path) -> Iterator[None]:
    """Turns a full disk in the caller's own writing into a DiskError; other errors are the caller's to explain."""
    try:
        yield
    except DiskError:
        raise
    except Exception as error:
        number = _no_room(error)
        if number is None:
            raise
        raise explain(OSError(number, os.strerror(number)), path) from error


def _force_to_disk(path: Path) -> None:
    """Waits until a file's bytes, or a folder's list of names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path to write to; at the end of the block it becomes `path`, or vanishes if the block failed.

    Makes the folder above where it is missing. Raises DiskError, in one sentence, when the disk refuses.
    """
    path = Path(path)
    # The process id keeps two processes from writing into one temporary file; the last one to finish wins, whole.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with _own_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _body_errors(path):
            yield temporary
        with _own_errors(path):
            temporary.chmod(0o644)  # some writers leave a file that only its owner may read
            _force_to_disk(temporary)
            temporary.replace(path)
            _force_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file whole or not at all; raises DiskError when the disk refuses."""
    with atomic_file(path) as temporary, _own_errors(Path(path)):
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Writes text as UTF-8, whole or not at all, with line ends as they are; raises DiskError when the disk refuses."""
    write_bytes(path, content.encode("utf-8"))


def to_json(value: Any, indent: int | None = 2, sort: bool = True) -> bytes:
    """JSON for a person (`indent` spaces) or for a line of a log (None). The same value gives the same bytes; tables
    are sorted by name, unless their order says something.

    Takes plain data, settings, dataclasses, paths, NumPy and torch numbers and arrays. A number that is not finite has
    no JSON form and becomes null.
    """
    plain = msgspec.to_builtins(value, str_keys=True, order="sorted" if sort else None, enc_hook=_plain)
    encoded = msgspec.json.encode(plain)
    return encoded if indent is None else msgspec.json.format(encoded, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # arrays and their numbers, without importing the libraries that make them
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def write_json(path: str | Path, value: Any, sort: bool = True) -> None:
    """Writes a value as indented JSON (see `to_json`), whole or not at all; raises DiskError when the disk refuses."""
    write_bytes(path, to_json(value, sort=sort) + b"\n")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file; raises DiskError where it cannot be read and ValueError where it is not JSON."""
    path = Path(path)
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise explain(error, path, "read") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); remove it and make it again") from error


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Gives a temporary folder to fill; at the end of the block it becomes `path`, or vanishes if the block failed.

    An existing folder is replaced. At every instant `resolve_folder(path)` gives the old one or the new one, complete.
    One process at a time may write one path. Raises DiskError, in one sentence, when the disk refuses.
    """
    path = Path(path)
    # One fixed name, so that what a killed process left behind is cleared away by the next one and never piles up.
    temporary = path.with_name(f".{path.name}.new")
    if path.is_file():
        raise DiskError(f"cannot write {path}: a file stands where the folder should be; move it or choose a new name")
    with _own_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _restore(path)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
    try:
        with _body_errors(path):
            yield temporary
        with _own_errors(path):
            for folder, _, files in os.walk(temporary):
                for file in files:
                    _force_to_disk(Path(folder, file))
                _force_to_disk(Path(folder))
            _swap_in(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(folder: str | Path, otherwise: str) -> Iterator[int]:
    """Keeps a second run out of a folder, which is made where it is missing, until the end of the block.

    Gives the number of the open file that is locked: a process that inherits it holds the lock too, and the lock ends
    with the last of them, however that ends. A file system without locks keeps nobody out.

    Raises:
        ValueError: another run holds it for longer than LOCK_SECONDS; the sentence ends with `otherwise`, what to do
            then but wait.
        DiskError: the folder cannot be made or written.
    """
    path = Path(folder) / LOCK
    if path.parent.is_file():
        raise ValueError(f"{folder} is a file; name a folder")
    with _own_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        until = time.monotonic() + LOCK_SECONDS
        while not _taken(file.fileno()):
            if time.monotonic() > until:
                raise ValueError(f"another run is writing to {folder}; wait for it, or {otherwise}")
            time.sleep(0.1)
        yield file.fileno()


def _taken(file: int) -> bool:
    """Whether the lock of an open file is ours now, or the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def resolve_folder(path: str | Path) -> Path:
    """Where the complete folder `path` stands: there, or set aside if a replacement was cut off between two renames."""
    path = Path(path)
    aside = _aside(path)
    return aside if not path.exists() and aside.exists() else path


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _restore(path: Path) -> None:
    """Clears up after a replacement that was cut off: the old folder goes back, or away if the new one is in place."""
    aside = _aside(path)
    if not path.exists() and aside.exists():
        aside.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def _swap_in(temporary: Path, path: Path) -> None:
    """Puts the finished folder in place. No portable call exchanges two folders, so the old one steps aside first."""
    aside = _aside(path)
    if path.exists():
        path.rename(aside)
    temporary.rename(path)
    _force_to_disk(path.parent)
    shutil.rmtree(aside, ignore_errors=True)
