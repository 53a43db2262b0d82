"""The reader of archives, zip and tar: each file in one is copied to a temporary file and read by its own reader."""

from __future__ import annotations

import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from tutelage.io.byte_reader import ByteReader, note_lost, read_bytes
from tutelage.io.decompress import BOMB, CHUNK, is_bomb
from tutelage.io.open import open_bytes
from tutelage.ledger import Ledger
from tutelage.records import Document

_ZIP = b"PK\3\4"
_UNREADABLE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError)
_HIDDEN = (".", "__MACOSX")


class _Member(NamedTuple):
    """A file in an archive. packed: its compressed size; 0 where the archive is compressed as a whole."""

    name: str
    open: Callable[[], IO[bytes] | None]
    packed: int


def archive_documents(
    path: str, ledger: Ledger, read: Callable[[str, Ledger], Iterator[Document]], known: Callable[[str], bool]
) -> Iterator[Document]:
    """The documents of the files in a zip archive, or a tar archive, compressed or not, in its order. Files of unknown
    type, with a password, and damaged ones are counted.

    read:  reads a file.
    known: whether a file can be read, by its name.
    """
    with read_bytes(path) as reader, tempfile.TemporaryDirectory(prefix="tutelage-archive-") as folder:
        head = reader.read(len(_ZIP))
        reader.unread(head)
        members = _zip_members(path) if head == _ZIP else _tar_members(reader)
        while True:
            try:
                member = next(members, None)
            except _UNREADABLE:
                damage = reader.damage
                ledger.read()
                where = note_lost(damage, path, ledger) if damage else path
                ledger.drop(damage.reason if damage else "unreadable archive", where=where)
                return
            if member is None:
                return
            if any(part.startswith(_HIDDEN) for part in Path(member.name).parts):
                continue
            yield from _member_documents(member, f"{path}/{member.name}", ledger, Path(folder), read, known)


def _member_documents(
    member: _Member,
    place: str,
    ledger: Ledger,
    folder: Path,
    read: Callable[[str, Ledger], Iterator[Document]],
    known: Callable[[str], bool],
) -> Iterator[Document]:
    copy = folder / f"file{''.join(Path(member.name).suffixes[-2:])[-40:]}"
    problem = _copied(member, copy) if known(copy.name) else "file of unknown type in an archive"
    if problem:
        ledger.read()
        ledger.drop(problem, where=place)
    else:
        of_member = Ledger(ledger.step)
        for document in read(str(copy), of_member):
            if document.id.startswith(str(copy)):
                document = replace(document, id=place + document.id[len(str(copy)) :])
            yield document
        of_member.rename(str(copy), place)
        ledger.merge(of_member)
    copy.unlink(missing_ok=True)


def _copied(member: _Member, copy: Path) -> str:
    """Copy a file out of its archive. Returns why it cannot be copied; "" if it is."""
    size = 0
    try:
        with copy.open("wb") as out:
            content = member.open()
            while content is not None and (piece := content.read(CHUNK)):
                size += out.write(piece)
                if member.packed and is_bomb(size, member.packed):
                    return BOMB
    except RuntimeError as error:  # NotImplementedError is one: a compression that the library does not know
        return "unreadable file in an archive" if isinstance(error, NotImplementedError) else "file with a password"
    except _UNREADABLE:
        return "unreadable file in an archive"
    return ""


def _zip_members(path: str) -> Iterator[_Member]:
    with open_bytes(path) as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield _Member(info.filename, partial(archive.open, info), max(info.compress_size, 1))


def _tar_members(reader: ByteReader) -> Iterator[_Member]:
    with tarfile.open(fileobj=reader, mode="r|") as archive:  # type: ignore[call-overload]  # it only reads
        for info in archive:
            if info.isfile():
                yield _Member(info.name, partial(archive.extractfile, info), 0)
