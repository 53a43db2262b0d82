"""Atomic writes of files and folders, and disk errors as one sentence instead of a stack trace.

Content is written to a temporary name, flushed to disk and renamed. A process killed at any instant, or a machine that
loses power, leaves either the old or the new content, never a part of it.
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
LOCK_SECONDS = 10.0  # the child processes of a killed run end within a few seconds


class DiskError(OSError):
    """A disk error: full, forbidden or missing. `str(error)` is one sentence for the user."""


def explain(error: OSError, path: Path, action: str = "write") -> DiskError:
    """The error as one sentence that names the path and says what to do. `action` is what failed: "write" or "read"."""
    prefix = f"cannot {action} {path}: "
    if error.errno in _FULL:
        return DiskError(f"{prefix}the disk is full ({_free(path)} free); free some space and rerun")
    if error.errno == errno.EFBIG:
        return DiskError(f"{prefix}file too large; raise the limit of the system (ulimit -f) or of the disk")
    if error.errno in _FORBIDDEN:
        return DiskError(f"{prefix}permission denied; choose another folder or change its permissions")
    return DiskError(f"{prefix}{(error.strerror or str(error)).lower()}; check the path")


def _free(path: Path) -> str:
    """The free space on the disk of `path`, as text."""
    existing = next((folder for folder in path.absolute().parents if folder.exists()), Path("/"))
    return f"{shutil.disk_usage(existing).free / 2**20:,.0f} MiB"


def _disk_full_errno(error: Exception) -> int | None:
    """The errno of a full disk, where that is the cause of an error."""
    # Native writers (safetensors) raise their own exceptions, which have only the system's message.
    return next((n for n in _NO_ROOM if getattr(error, "errno", None) == n or os.strerror(n) in str(error)), None)


@contextmanager
def _own_errors(path: Path) -> Iterator[None]:
    """Turns system errors while `path` is written into a DiskError."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        raise explain(error, path) from error


@contextmanager
def _body_errors(path: Path) -> Iterator[None]:
    """Turns a full disk in the caller's block into a DiskError; other errors are not changed."""
    try:
        yield
    except DiskError:
        raise
    except Exception as error:
        number = _disk_full_errno(error)
        if number is None:
            raise
        raise explain(OSError(number, os.strerror(number)), path) from error


def _fsync(path: Path) -> None:
    """Waits until a file's bytes, or a folder's list of names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path to write to. At the end of the block it becomes `path`, or is removed if the block fails.

    Makes missing parent folders. Raises DiskError.
    """
    path = Path(path)
    # The process id keeps two processes from writing to one temporary file; the last one to finish wins.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with _own_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _body_errors(path):
            yield temporary
        with _own_errors(path):
            temporary.chmod(0o644)  # some writers leave a file that only its owner may read
            _fsync(temporary)
            temporary.replace(path)
            _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Writes a file atomically; raises DiskError."""
    with atomic_file(path) as temporary, _own_errors(Path(path)):
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Writes text as UTF-8 atomically, without changing line ends; raises DiskError."""
    write_bytes(path, content.encode("utf-8"))


def to_json(value: Any, indent: int | None = 2, sort: bool = True) -> bytes:
    """JSON with `indent` spaces, or on one line (None). The same value gives the same bytes; keys are sorted unless
    `sort` is false.

    Accepts plain data, settings, dataclasses, paths, NumPy and torch numbers and arrays. NaN and infinity become null.
    """
    plain = msgspec.to_builtins(value, str_keys=True, order="sorted" if sort else None, enc_hook=_plain)
    encoded = msgspec.json.encode(plain)
    return encoded if indent is None else msgspec.json.format(encoded, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # arrays and their numbers, without importing NumPy or torch
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def write_json(path: str | Path, value: Any, sort: bool = True) -> None:
    """Writes a value as indented JSON (see `to_json`) atomically; raises DiskError."""
    write_bytes(path, to_json(value, sort=sort) + b"\n")


def read_text(path: str | Path) -> str:
    """Reads a text file; bytes that are no UTF-8 become U+FFFD. Raises DiskError where it cannot be read."""
    path = Path(path)
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise explain(error, path, "read") from error


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
    """Yields a temporary folder to fill. At the end of the block it becomes `path`, or is removed if the block failed.

    An existing folder is replaced. At every instant `resolve_folder(path)` is the complete old or the complete new one.
    Only one process at a time may write a path. Raises DiskError.
    """
    path = Path(path)
    # One fixed name, so that the next process removes what a killed one left behind.
    temporary = path.with_name(f".{path.name}.new")
    if path.is_file():
        raise DiskError(f"cannot write {path}: a file has the name of the folder; move it or choose another name")
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
                    _fsync(Path(folder, file))
                _fsync(Path(folder))
            _swap_in(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(folder: str | Path, otherwise: str) -> Iterator[int]:
    """Locks a folder against other runs until the end of the block; makes the folder if it is missing.

    Yields the descriptor of the locked file. A process that inherits it holds the lock too, and the lock ends with the
    last of them. On a file system without locks this does nothing.

    Raises:
        ValueError: another run holds the lock for longer than LOCK_SECONDS; `otherwise` is what to do instead of
            waiting.
        DiskError: the folder cannot be made or written.
    """
    path = Path(folder) / LOCK
    if path.parent.is_file():
        raise ValueError(f"{folder} is a file; name a folder")
    with _own_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise ValueError(f"another run is writing to {folder}; wait for it, or {otherwise}")
            time.sleep(0.1)
        yield file.fileno()


def _try_lock(file: int) -> bool:
    """Whether the lock of an open file is acquired, or the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def resolve_folder(path: str | Path) -> Path:
    """The path of the complete folder: `path`, or the old one if a replacement was interrupted between two renames."""
    path = Path(path)
    backup = _backup(path)
    return backup if not path.exists() and backup.exists() else path


def _backup(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _restore(path: Path) -> None:
    """Cleans up after an interrupted replacement: restores the old folder, or removes it if the new one is in place."""
    backup = _backup(path)
    if not path.exists() and backup.exists():
        backup.rename(path)
    shutil.rmtree(backup, ignore_errors=True)


def _swap_in(temporary: Path, path: Path) -> None:
    """Puts the finished folder in place. No portable call swaps two folders, so the old one is renamed first."""
    backup = _backup(path)
    if path.exists():
        path.rename(backup)
    temporary.rename(path)
    _fsync(path.parent)
    shutil.rmtree(backup, ignore_errors=True)
