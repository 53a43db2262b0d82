"""The keys of documents of corpora that are finished already: computed once, and kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from tutelage.config import fingerprint
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.fetch import cache_folder
from tutelage.corpus.shards import corpus_files, corpus_result, read_documents
from tutelage.files import atomic_folder
from tutelage.progress import status
from tutelage.records import Document

_AT_ONCE = 1024  # documents
_KEYS = "keys.bin"

Keys = Callable[[DocumentBatch], np.ndarray]


def finished_corpora(against: str | tuple[str, ...]) -> tuple[str, ...]:
    """The folders of a setting `against`. Raises ValueError if one is no finished corpus."""
    corpora = (against,) if isinstance(against, str) else against
    for corpus in corpora:
        corpus_files(Path(corpus))  # fail now, not after the first pass
    return corpora


def known_keys(corpora: Sequence[str], buckets: int, settings: object, keys: Keys) -> list[np.ndarray]:
    """The keys of the documents of each corpus, uint64[N, buckets], memory-mapped.

    settings: all that decides the keys beside the documents.
    keys:     the keys of a batch, uint64[N, buckets].

    Raises:
        ValueError: a folder is no finished corpus.
    """
    found = []
    for corpus in corpora:
        folder = Path(corpus)
        about = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in corpus_files(folder)]
        key = fingerprint(corpus_result(folder)["fingerprint"], about, settings)
        cached = cache_folder() / "dedup" / key
        if not cached.exists():
            status(f"computing the keys of {folder}, once")
            with atomic_folder(cached) as temporary, (temporary / _KEYS).open("wb") as file:
                for batch in _batches(folder):
                    file.write(np.ascontiguousarray(keys(batch), np.uint64).data)
        size = (cached / _KEYS).stat().st_size
        shape = (size // (8 * buckets), buckets)
        found.append(
            np.memmap(cached / _KEYS, np.uint64, "r", shape=shape) if size else np.empty((0, buckets), np.uint64)
        )
    return found


def _batches(folder: Path) -> Iterator[DocumentBatch]:
    documents: Iterator[Document] = (document for path in corpus_files(folder) for document in read_documents(path))
    while batch := list(islice(documents, _AT_ONCE)):
        yield DocumentBatch(batch)
