"""Opens local files and URLs. A read that fails is retried from its byte: an I/O error is not corrupt data."""

from __future__ import annotations

import errno
import io
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from tutelage.extras import load
from tutelage.files import DiskError, explain

RETRY_SECONDS = (0.2, 1.0, 3.0)  # the wait before each retry
SILENT_SECONDS = 60.0  # how long an HTTP server may send nothing
_BUFFER_BYTES = 1 << 16
_TRANSIENT = (
    errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED,
    errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.ENOTCONN,
)  # fmt: skip
_MISSING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

Result = TypeVar("Result")


def open_bytes(path: str | Path) -> BinaryIO:
    """Open a local file, or a URL that `fsspec` knows ("s3://...", "zip://..."), buffered.

    Raises:
        DiskError: the file is missing or forbidden; or, also from a later read, a read failed after all retries.
        ValueError: the package that opens such a URL is missing; the message says what to install.
    """
    return cast(BinaryIO, io.BufferedReader(_RetryingFile(str(path)), _BUFFER_BYTES))


def retried(action: Callable[[], Result], address: str, verb: str) -> Result:
    """The result of an action on a remote file system, tried again where it fails. Raises DiskError after the last
    retry: "cannot VERB ADDRESS: ..."."""
    for wait in (*RETRY_SECONDS, None):
        try:
            return action()
        except ImportError as error:
            raise ValueError(f"{address}: {error}; run: pip install 'tutelage[corpus]'") from error
        except Exception as error:  # every fsspec file system raises its own exceptions
            if isinstance(error, OSError) and _is_missing(error):
                raise explain(error, Path(address), verb) from error
            if wait is None:
                message = " ".join(str(error).split()) or type(error).__name__
                raise DiskError(f"cannot {verb} {address}: {message}; rerun to resume") from error
            time.sleep(wait)
    raise AssertionError("unreachable")


def _is_missing(error: OSError) -> bool:
    """Whether a file is missing or forbidden: fsspec also calls one missing whose server answers 503."""
    if not isinstance(error, _MISSING):
        return False
    cause = error.__cause__
    status = getattr(cause, "status", None)
    refused = isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)
    return cause is None or refused or (isinstance(cause, OSError) and _is_missing(cause))


class _RetryingFile(io.RawIOBase):
    """A file that is reopened, and read on from the same byte, where a read fails."""

    def __init__(self, path: str) -> None:
        self._path, self._at = path, 0
        self._fsspec = load("fsspec") if "://" in path else None
        # The exceptions of remote file systems are of all classes.
        self._errors: type[Exception] = OSError if self._fsspec is None else Exception
        self._streaming = False
        self._file: Any = None
        self._retry(lambda: None)

    def _open(self) -> Any:
        if self._fsspec is None:
            file: Any = open(self._path, "rb", buffering=0)  # noqa: SIM115
        else:  # HTTP servers without range requests only stream
            file = self._fsspec.open(self._path, "rb", **self._options()).open()
        if self._at and file.seekable() and not self._streaming:
            file.seek(self._at)
            return file
        left = self._at
        while left and (skipped := len(file.read(min(left, _BUFFER_BYTES)))):
            left -= skipped
        return file

    def _options(self) -> dict[str, Any]:
        if not self._path.startswith("http"):
            return {}
        # By default fsspec ends any transfer after five minutes, and waits as long for a server that sends nothing.
        limit = load("aiohttp").ClientTimeout(total=None, sock_connect=SILENT_SECONDS, sock_read=SILENT_SECONDS)
        return {"client_kwargs": {"timeout": limit}, **({"block_size": 0} if self._streaming else {})}

    def _retry(self, action: Callable[[], Result]) -> Result:
        """The result of an action on the open file; on an error, on the file opened again."""
        for wait in (*RETRY_SECONDS, None):
            try:
                self._file = self._file or self._open()
                return action()
            except ImportError as error:
                raise ValueError(f"{self._path}: {error}; run: pip install 'tutelage[corpus]'") from error
            except self._errors as error:
                self._discard()
                if isinstance(error, OSError) and self._is_final(error):
                    raise explain(error, Path(self._path), "read") from error
                if wait is None:
                    cause = error.__cause__ or error
                    message = " ".join(str(cause).split())
                    reason = getattr(error, "strerror", None) or f"{type(cause).__name__}: {message}"
                    where = f"cannot read {self._path} from byte {self._at:,}: {reason}"
                    raise DiskError(f"{where}; check the disk or the network, and rerun") from error
                self._streaming = isinstance(error, ValueError) and self._path.startswith("http")
                time.sleep(wait)
        raise AssertionError("unreachable")

    def _is_final(self, error: OSError) -> bool:
        """Whether a retry is useless."""
        if isinstance(error, _MISSING):
            return _is_missing(error)
        return self._fsspec is None and error.errno not in _TRANSIENT

    def _discard(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(self._errors):
                file.close()

    def readinto(self, buffer: Any) -> int:
        """As `RawIOBase.readinto`; raises DiskError after the last retry."""

        def read() -> int:
            count: int = self._file.readinto(buffer)
            size = getattr(self._file, "size", None)  # of a remote file
            if not count and isinstance(size, int) and self._at < size:
                raise ConnectionError(f"received {self._at:,} of {size:,} bytes")
            return count

        count = self._retry(read)
        self._at += count
        return count

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """Whether the open file can seek."""
        return self._retry(lambda: bool(self._file.seekable()))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As `RawIOBase.seek`."""
        self._at = self._retry(lambda: int(self._file.seek(offset, whence)))
        return self._at

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._at

    def close(self) -> None:
        """Close the file."""
        self._discard()
        super().close()
