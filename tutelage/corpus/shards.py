"""A corpus on the disk. Documents are in files of JSON lines, compressed with zstandard: objects {"id", "text"}, with
"meta", "facts" and "split" where there are any. Which files there are says `curation.json`, which is written last."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tutelage.files import atomic_file, read_json
from tutelage.records import Document

SUFFIX, RESULT = ".jsonl.zst", "curation.json"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Document)


@contextmanager
def compressed_lines(path: Path) -> Iterator[Any]:
    """A file of compressed lines to write bytes to, until the end of the block; makes the folder above it."""
    import pyarrow as pa  # type: ignore[import-untyped]

    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        yield stream


def to_row(document: Document, extra: Mapping[str, str] | None = None) -> bytes:
    """A document as a line of JSON, with `extra` fields in front of it."""
    row: dict[str, Any] = {**(extra or {}), "id": document.id, "text": document.text}
    for name in ("meta", "facts", "split"):
        if value := getattr(document, name):
            row[name] = value
    return _encoder.encode(row) + b"\n"


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Writes documents to a file, whole or not at all; gives their number. DiskError when the disk refuses."""
    count = 0
    with atomic_file(path) as temporary, compressed_lines(temporary) as stream:
        for document in documents:
            stream.write(to_row(document))
            count += 1
    return count


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that `compressed_lines` wrote, or of several such files one after the other in one file.

    Raises:
        ValueError: the file is cut off or damaged.
    """
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression="zstd") as stream:
            yield from io.BufferedReader(stream, 1 << 20)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; was it moved away?") from None
    except OSError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it and make it again") from error


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a file that `write_documents` wrote.

    Raises:
        ValueError: the file is cut off or damaged; the sentence names the line.
    """
    for number, line in enumerate(read_lines(path), 1):
        try:
            yield _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {number}, is no document ({error}); make the file again") from error


def finished(out: Path) -> dict[str, Any] | None:
    """The content of OUT/curation.json, None where no curation is finished there."""
    path = out / RESULT
    return read_json(path) if path.exists() else None


def corpus_result(out: Path) -> dict[str, Any]:
    """The content of OUT/curation.json; ValueError where no curation is finished there."""
    done = finished(out)
    if done is None:
        raise ValueError(f"{out} is no finished corpus: {RESULT} is missing; run tutelage curate to its end")
    return done


def corpus_files(out: Path) -> list[Path]:
    """The files of documents of a finished curation, in order; ValueError where it is not finished."""
    return [out / name for name in corpus_result(out)["files"]]
