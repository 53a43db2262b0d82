"""Downloads files once, by URL and checksum, or from any file system of fsspec."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from tutelage.config import fingerprint
from tutelage.extras import load
from tutelage.files import DiskError, atomic_file
from tutelage.progress import status, track

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """The cache of downloaded files and trained models: $TUTELAGE_CACHE, or ~/.cache/tutelage."""
    return Path(os.environ.get("TUTELAGE_CACHE") or Path.home() / ".cache" / "tutelage")


def fetch(url: str, sha256: str, instead: str) -> Path:
    """Download `url`, or return it from the cache. `instead` is the advice of the error message.

    Raises:
        ValueError: the download failed, or the file has another checksum.
    """
    path = cache_folder() / sha256
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    status(f"downloading {url}")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, atomic_file(path) as temporary:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with temporary.open("wb") as file, track("downloading", size, "bytes") as bar:
                while chunk := answer.read(CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
                if size and file.tell() < size:
                    raise ConnectionError(f"received {file.tell():,} of {size:,} bytes")
            if digest.hexdigest() != sha256:
                raise ValueError(f"{url} has changed: its SHA-256 is {digest.hexdigest()}; {instead}")
    except DiskError:
        raise
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # closes the connection
        reason = getattr(error, "reason", error)
        raise ValueError(f"{url} could not be downloaded ({reason}); {instead}") from error
    return path


def local_file(path: str) -> Path:
    """A local path for a file that a setting names. A URL that fsspec opens ("s3://bucket/model") is copied into the
    cache under its own name, and copied again when it has changed.

    Raises:
        ValueError: the URL cannot be read.
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
            status(f"downloading {path}")
            with system.open(name, "rb") as file, atomic_file(copy) as temporary, temporary.open("wb") as out:
                shutil.copyfileobj(file, out, CHUNK_BYTES)
    except DiskError:
        raise
    except Exception as error:  # every fsspec file system raises its own exceptions
        raise ValueError(f"{path} cannot be read ({error}); check the URL and your credentials") from error
    return copy
