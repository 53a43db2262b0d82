"""A corpus on disk. Documents are JSON lines compressed with zstandard: objects {"id", "text"}, with "meta" (metadata
of the source), "facts" (metadata that steps added) and "split" if there are any; or Parquet, with numeric facts in a
column of their own, "scores". `curation.json` lists the files and is written last."""

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
FORMAT = 2  # of curation.json; increase it when the meaning of a key changes. Tutelage 0.1 wrote none.
# A row group of a Parquet file is written once it is this large, and read in batches of this many rows.
GROUP_DOCUMENTS, GROUP_CHARACTERS, BATCH_DOCUMENTS = 1 << 14, 16 << 20, 256

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Document)


@contextmanager
def compressed_lines(path: Path) -> Iterator[Any]:
    """Context manager: a zstandard stream that bytes are written to. Creates the parent folder."""
    import pyarrow as pa  # type: ignore[import-untyped]

    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        yield stream


def to_row(document: Document, extra: Mapping[str, str] | None = None) -> bytes:
    """A document as one line of JSON, after the `extra` fields."""
    row: dict[str, Any] = {**(extra or {}), "id": document.id, "text": document.text}
    for name in ("meta", "facts", "split"):
        if value := getattr(document, name):
            row[name] = value
    return _encoder.encode(row) + b"\n"


@contextmanager
def document_writer(path: Path, suffix: str) -> Iterator[Callable[[Document], None]]:
    """Context manager: a function that appends a document to a file in the format of `suffix`."""
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
    kinds |= {"flags": pa.map_(pa.string(), pa.bool_())}
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
            facts: dict[str, list[tuple[str, Any]]] = {"facts": [], "scores": [], "flags": []}
            for name, value in document.facts.items():
                column = "facts" if isinstance(value, str) else "flags" if isinstance(value, bool) else "scores"
                facts[column].append((name, value))
            row: dict[str, Any] = {"id": document.id, "text": document.text, "split": document.split}
            row |= {"meta": list(document.meta.items()), **facts}
            group.append(row)
            characters += len(document.text)
            if len(group) == GROUP_DOCUMENTS or characters >= GROUP_CHARACTERS:
                flush()

        yield write
        if group:
            flush()


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Write documents to a file atomically, as Parquet if its name ends so. Returns their number. Raises DiskError."""
    count = 0
    with atomic_file(path) as temporary, document_writer(temporary, path.suffix) as write:
        for document in documents:
            write(document)
            count += 1
    return count


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that `compressed_lines` wrote, or of several such files concatenated.

    Raises:
        ValueError: the file is missing, truncated or corrupt.
    """
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression="zstd") as stream:
            yield from io.BufferedReader(stream, 1 << 20)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; was it moved or deleted?") from None
    except OSError as error:
        raise ValueError(f"{path} is corrupt ({error}); delete the corpus and curate it again") from error


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a file that `write_documents` wrote.

    Raises:
        ValueError: the file is missing, truncated or corrupt; the message names the line.
    """
    if path.suffix == PARQUET:
        yield from _parquet_rows(path)
        return
    for number, line in enumerate(read_lines(path), 1):
        try:
            yield _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {number}, is not a document ({error}); curate the corpus again") from error


def _parquet_rows(path: Path) -> Iterator[Document]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # No read-ahead: at most one row group is in memory.
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_DOCUMENTS):
                for row in batch.to_pylist():
                    facts = {**dict(row["facts"]), **dict(row["scores"]), **dict(row.get("flags") or ())}
                    yield Document(row["text"], row["id"], dict(row["meta"]), row["split"], facts)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; was it moved or deleted?") from None
    except (pa.ArrowException, OSError, KeyError) as error:
        cause = " ".join(str(error).split())
        raise ValueError(f"{path} is corrupt ({cause}); delete the corpus and curate it again") from error


def read_result(out: Path) -> dict[str, Any] | None:
    """The content of OUT/curation.json in whatever format; None if there is none."""
    path = out / RESULT
    return read_json(path) if path.exists() else None


def is_current(result: Mapping[str, Any] | None) -> bool:
    """Whether a curation.json is there and has the format that this version reads."""
    return result is not None and result.get("format") == FORMAT


def finished(out: Path) -> dict[str, Any] | None:
    """The content of OUT/curation.json; None if no curation has finished there.

    Raises:
        ValueError: another version of Tutelage wrote it.
    """
    result = read_result(out)
    if result is not None and not is_current(result):
        folder = out.parent if "mix" in result else out  # a mix is written to OUT/STAGE
        raise ValueError(
            f"{out} is a corpus in the format of another version of Tutelage; make it again with "
            f"tutelage curate RECIPE.toml out={folder}"
        )
    return result


def corpus_result(out: Path) -> dict[str, Any]:
    """The content of OUT/curation.json; ValueError if no curation has finished there, or as `finished`."""
    result = finished(out)
    if result is None:
        raise ValueError(
            f"{out} is not a finished corpus: {RESULT} is missing; finish it with tutelage curate RECIPE.toml out={out}"
        )
    return result


def corpus_files(out: Path) -> list[Path]:
    """The document files of a finished corpus, in order; ValueError as `corpus_result`."""
    return [out / name for name in corpus_result(out)["files"]]


def of_corpus(path: Path) -> bool:
    """Whether a file holds documents of a finished corpus."""
    return path.name.endswith((SUFFIX, PARQUET)) and path.name in (finished(path.parent) or {"files": ()})["files"]
