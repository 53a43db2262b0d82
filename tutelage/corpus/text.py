"""A plain text file as documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tutelage.config import Settings, SettingsError
from tutelage.corpus.fetch import fetch
from tutelage.records import Document, Split

DOCUMENT_BYTES = 1 << 16  # a long text is split into documents of this size, to bound memory


class TextSettings(Settings, frozen=True, kw_only=True):
    """A text file in UTF-8.

    path:   the file, relative to the recipe.
    url:    alternatively, a URL to download once.
    sha256: checksum of the download.
    tail:   fraction of the text, at its end, that is held out from training.
    """

    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    tail: float = 0.1

    def __post_init__(self) -> None:
        if self.path is None and (self.url is None or self.sha256 is None):
            raise SettingsError("a text needs path, or both url and sha256")
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise SettingsError(f"sha256 is '{self.sha256}'; it must be 64 lower-case hexadecimal digits")
        if not 0 <= self.tail < 1:
            raise SettingsError(f"tail is {self.tail}; it must be at least 0 and below 1")


def text_file(settings: TextSettings, where: str) -> Path:
    """The path of the file, downloaded if necessary. Raises ValueError, naming the setting `where`.path, if it is
    missing."""
    if settings.path is None:
        assert settings.url is not None and settings.sha256 is not None
        return fetch(settings.url, settings.sha256, f"download it yourself and set {where}.path=FILE")
    path = Path(settings.path)
    if not path.is_file():
        raise ValueError(f"{where}.path: there is no text file {path}; set {where}.path=FILE")
    return path


def text_documents(path: Path, tail: float) -> Iterator[Document]:
    """The text in order, as documents that belong either to the training split or to the held-out tail.

    Raises:
        ValueError: the file is not UTF-8; the message has the byte offset.
    """
    size = path.stat().st_size
    parts: tuple[tuple[int, Split], ...]
    parts = (_character_start(path, int(size * (1 - tail))), "train"), (size, "held_out")
    with path.open("rb") as file:
        for stop, part in parts:
            while (begin := file.tell()) < stop:
                end = min(_character_start(path, begin + DOCUMENT_BYTES), stop)
                try:
                    text = file.read(end - begin).decode()
                except UnicodeDecodeError as error:
                    at = begin + error.start
                    raise ValueError(f"{path}, byte {at}: not UTF-8; save the file as UTF-8") from None
                yield Document(text, f"{path.name}:{begin}", split=part)


def _character_start(path: Path, at: int) -> int:
    """The offset of the first byte from `at` on that begins a character; else the end of the file."""
    with path.open("rb") as file:
        file.seek(at)
        rest = file.read(4)
    # Bytes 10xxxxxx continue a character; a character has at most three of them.
    following = next((i for i, byte in enumerate(rest) if byte & 0b1100_0000 != 0b1000_0000), len(rest))
    return at + following
