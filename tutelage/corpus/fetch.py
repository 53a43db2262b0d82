"""Files from the network, fetched once: by URL and checksum, or from wherever fsspec reads."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from tutelage.config import fingerprint
from tutelage.corpus.extras import load
from tutelage.files import DiskError, atomic_file
from tutelage.progress import status, track

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """Where fetched files stand: $TUTELAGE_CACHE, or ~/.cache/tutelage."""
    return Path(os.environ.get("TUTELAGE_CACHE") or Path.home() / ".cache" / "tutelage")


def fetch(url: str, sha256: str, instead: str) -> Path:
    """The file at `url`, from the cache where it was fetched before. `instead` says what to do where it cannot be had.

    Raises:
        ValueError: the network does not give the file, or what it gives has another checksum.
    """
    path = cache_folder() / sha256
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    status(f"fetching {url}")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, atomic_file(path) as temporary:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with temporary.open("wb") as file, track("fetching", size, "bytes") as bar:
                while chunk := answer.read(CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
                if size and file.tell() < size:
                    raise ConnectionError(f"{file.tell():,} of {size:,} bytes came")
            if digest.hexdigest() != sha256:
                raise ValueError(f"{url} is not the file it was: its SHA-256 is {digest.hexdigest()}; {instead}")
    except DiskError:
        raise
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", error)
        raise ValueError(f"{url} could not be fetched ({reason}); {instead}") from error
    return path


def local_file(path: str) -> Path:
    """A file that a setting names, as one on this machine: one at an address that fsspec opens ("s3://bucket/model") is
    copied into the cache, under its own name, and copied again where it has changed there.

    Raises:
        ValueError: there is nothing to read at the address.
    """
    if "://" not in path:
        return Path(path)
    systems = load("fsspec").core
    try:
        system, name = systems.url_to_fs(path)
        about = system.info(name)
        mark = [str(about.get(key, "")) for key in ("size", "ETag", "etag", "LastModified", "mtime", "created")]
        copy = cache_folder() / "files" / fingerprint(path, mark) / name.rstrip("/").rpartition("/")[2]
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            status(f"fetching {path}")
            with system.open(name, "rb") as file, atomic_file(copy) as temporary, temporary.open("wb") as out:
                shutil.copyfileobj(file, out, CHUNK_BYTES)
    except DiskError:
        raise
    except Exception as error:  # every system of fsspec raises its own
        raise ValueError(f"{path} cannot be read ({error}); check the address, and what it takes to sign in") from error
    return copy
