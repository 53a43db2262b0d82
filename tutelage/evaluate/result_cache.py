"""What a model has computed already, in a file: a score or an answer under a key of weights, token ids and settings."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec
import numpy as np

from tutelage.files import explain

# Raise it when scoring or decoding gives other values for the same weights, ids and settings.
CACHED = 2


def cache_key(weights: str, ids: np.ndarray, *settings: object) -> str:
    """The key of a value: a digest of the weights' digest, the token ids and what else decides it. Another model, or
    another prompt, has another key (lm-evaluation-harness #4063: one model's scores were reported as another's)."""
    digest = hashlib.blake2b(f"{CACHED} {weights} {settings!r} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(ids, np.int64).tobytes())
    return digest.hexdigest()


class ResultCache:
    """Values by key. With a path they are JSON lines, appended as they come, so that a killed run resumes; the last
    line may be cut. Without one they live as long as the object.

    Raises:
        DiskError: the file cannot be read or written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.values: dict[str, Any] = {}
        self._path = path
        self._file: IO[bytes] | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for line in path.read_bytes().splitlines() if path.exists() else ():
                try:
                    key, value = msgspec.json.decode(line)
                except (msgspec.DecodeError, ValueError, TypeError):
                    continue  # cut when a run was killed
                self.values[key] = value
            self._file = path.open("ab")
            self._file.write(b"\n")  # ends a cut line
        except OSError as error:
            raise explain(error, path, "write") from error

    def put(self, key: str, value: Any) -> None:
        """Keep a value; it is in the file when this returns."""
        self.values[key] = value
        if self._file is not None and self._path is not None:
            try:
                self._file.write(msgspec.json.encode((key, value)) + b"\n")
                self._file.flush()
            except OSError as error:
                raise explain(error, self._path, "write") from error

    def close(self) -> None:
        """Write what is buffered to the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def __enter__(self) -> ResultCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
