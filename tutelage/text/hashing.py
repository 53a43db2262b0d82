"""Hashes of numbers, texts and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.files import explain

# 2**64 divided by the golden ratio, as in SplitMix64; odd, so that multiplying by it loses nothing.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(value: Any) -> Any:
    """Mix the bits of a uint64, or of an array of them: the finaliser of SplitMix64 (Steele et al. 2014). Compiled
    loops compile this function too."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def hash_texts(texts: Iterable[str]) -> np.ndarray:
    """64 bits of the SHA-1 of each text, uint64[N]; 0 for an empty text, which is not compared."""
    digests = [hashlib.sha1(text.encode("utf-8", "surrogatepass")).digest()[:8] if text else bytes(8) for text in texts]
    return np.frombuffer(b"".join(digests), np.uint64)


def falls_in(key: str, share: float) -> bool:
    """Whether what has this name belongs to a share: decided by the name alone, so always alike."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) < share * 2**64


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, cached until the file changes. Raises DiskError if it is missing."""
    try:
        found = path.stat()
    except OSError as error:
        raise explain(error, path, "read") from error
    return _hash(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
