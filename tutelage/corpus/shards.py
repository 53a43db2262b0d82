"""A corpus on the disk. Documents are in files of JSON lines, compressed with zstandard: objects {"id", "text"}, with
"meta", "facts" and "split" where there are any; or in Parquet files, where the numbers among the facts stand apart, as
"scores". Which files there are says `curation.json`, which is written last."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tutelage.files import atomic_file, read_json
from tutelage.records import Document

SUFFIX, PARQUET, RESULT = ".jsonl.zst", ".parquet", "curation.json"
# A row group of a Parquet file is written once it is this large, and read in batches of so many rows.
GROUP_DOCUMENTS, GROUP_CHARACTERS, BATCH_DOCUMENTS = 1 << 14, 16 << 20, 256

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


@contextmanager
def document_writer(path: Path, suffix: str) -> Iterator[Callable[[Document], None]]:
    """What writes a document to a file of the kind that `suffix` says, until the end of the block."""
    if suffix == PARQUET:
        with _parquet_writer(path) as write:
            yield write
        return
    with compressed_lines(path) as stream:
        yield lambda document: stream.write(to_row(document))


@contextmanager
def _parquet_writer(path: Path) -> Iterator[Callable[[Document], None]]:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {"id": pa.string(), "text": pa.string(), "split": pa.string()}
    kinds |= {"meta": pa.map_(pa.string(), pa.string())}
    kinds |= {"facts": pa.map_(pa.string(), pa.string()), "scores": pa.map_(pa.string(), pa.float64())}
    schema = pa.schema(list(kinds.items()))
    group: list[dict[str, Any]] = []
    characters = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as file:

        def flush() -> None:
            nonlocal characters
            file.write_table(pa.Table.from_pylist(group, schema))
            group.clear()
            characters = 0

        def write(document: Document) -> None:
            nonlocal characters
            facts: dict[bool, list[tuple[str, str | float]]] = {True: [], False: []}
            for name, value in document.facts.items():
                facts[isinstance(value, str)].append((name, value))
            row: dict[str, Any] = {"id": document.id, "text": document.text, "split": document.split}
            row |= {"meta": list(document.meta.items()), "facts": facts[True], "scores": facts[False]}
            group.append(row)
            characters += len(document.text)
            if len(group) == GROUP_DOCUMENTS or characters >= GROUP_CHARACTERS:
                flush()

        yield write
        if group:
            flush()


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Writes documents to a file, whole or not at all, as Parquet where its name says so; gives their number. DiskError
    when the disk refuses."""
    count = 0
    with atomic_file(path) as temporary, document_writer(temporary, path.suffix) as write:
        for document in documents:
            write(document)
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
    if path.suffix == PARQUET:
        yield from _parquet_rows(path)
        return
    for number, line in enumerate(read_lines(path), 1):
        try:
            yield _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {number}, is no document ({error}); make the file again") from error


def _parquet_rows(path: Path) -> Iterator[Document]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # Nothing is read ahead: a row group is all that stands in memory.
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_DOCUMENTS):
                for row in batch.to_pylist():
                    facts = {**dict(row["facts"]), **dict(row["scores"])}
                    yield Document(row["text"], row["id"], dict(row["meta"]), row["split"], facts)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; was it moved away?") from None
    except (pa.ArrowException, OSError, KeyError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged ({said}); remove it and make it again") from error


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


def of_corpus(path: Path) -> bool:
    """Whether a file holds documents of a finished curation."""
    return path.name.endswith((SUFFIX, PARQUET)) and path.name in (finished(path.parent) or {"files": ()})["files"]
