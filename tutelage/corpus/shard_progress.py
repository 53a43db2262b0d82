"""How far the workers are within their shards: each writes the number of its documents to a small file beside the
shard, which all nodes of a cluster can see; the driver shows the sum."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tutelage.progress import Bar

_SECONDS = 1.0  # between two writings, and between two readings


class ShardProgress:
    """Writes the number of documents that a worker has taken through its pass."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._documents = 0
        self._next = 0.0

    def add(self, documents: int, last: bool = False) -> None:
        """Count more documents; the file is written once in a while, and at the last."""
        self._documents += documents
        if last or time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS
            with suppress(OSError):  # only the display lacks it
                self._path.write_text(str(self._documents))


def documents_done(paths: Sequence[str]) -> int:
    """The sum of what the workers wrote."""
    total = 0
    for path in paths:
        try:
            total += int(Path(path).read_text() or 0)
        except (OSError, ValueError):
            continue  # not begun, or being written
    return total


@contextmanager
def shown(paths: Sequence[str], bar: Bar) -> Iterator[threading.Lock]:
    """Context manager: show the documents done beside a bar. Yields a lock, to hold while the bar is updated."""
    for path in paths:
        Path(path).unlink(missing_ok=True)  # of a killed run
    lock, ended = threading.Lock(), threading.Event()

    def show() -> None:
        while not ended.wait(_SECONDS):
            documents = documents_done(paths)
            with lock:
                bar.update(0, {"documents": documents})

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield lock
    finally:
        ended.set()
        thread.join()
        bar.numbers = {"documents": documents_done(paths)}
