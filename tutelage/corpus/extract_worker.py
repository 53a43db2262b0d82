"""A subprocess that extracts text from HTML and PDF. A page that crashes the parser, takes too long or fills the memory
loses only itself. The subprocess limits itself by a timer, which also fires if the parser never returns."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Literal, NamedTuple

import msgspec

from tutelage.corpus.page_text import page_text
from tutelage.corpus.pdf import pdf_text

Kind = Literal["fast", "careful", "pdf"]  # HTML in one of two ways, or PDF

_LENGTH = struct.Struct("<q")
_PIPE_BYTES = 1 << 20  # room for a few pages, so that neither end waits for the other to read
_GAVE_UP = "parser failed"


class Extracted(NamedTuple):
    """The text of a page, or why there is none; for a PDF also the number of unreadable pages."""

    text: str
    problem: str = ""
    unread: int = 0


class ExtractWorker:
    """Sends pages to its subprocess one by one, and restarts it if it ended."""

    def __init__(self, kind: Kind, seconds: float, mebibytes: int) -> None:
        self._asked = (kind, str(seconds), str(mebibytes))
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def text(self, page: str | bytes) -> Extracted:
        """The text of an HTML page, or of the content of a PDF.

        Raises:
            ValueError: the subprocess cannot start; the message says what to install.
        """
        return next(self.texts([page]))

    def texts(self, pages: Sequence[str | bytes]) -> Iterator[Extracted]:
        """`text` of each page, in order. Faster than single calls, because pages are pipelined."""
        done = 0
        while done < len(pages):
            for found in self._answers(pages[done:]):
                done += 1
                yield found

    def _answers(self, pages: Sequence[str | bytes]) -> Iterator[Extracted]:
        """The answers of one subprocess, up to the page that ends it, or the last."""
        if self._owner != os.getpid():  # after a fork the subprocess belongs to the parent
            self._process = None
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        sender = threading.Thread(target=_send, args=(process.stdin, pages), daemon=True)
        sender.start()
        left = len(pages)
        try:
            while left:
                found = msgspec.json.decode(_read(process.stdout), type=Extracted)
                left -= 1
                yield found
        except EOFError:
            sender.join()
            late = self._end() == -signal.SIGPROF
            yield Extracted("", f"timeout after {self._seconds:g} s" if late else _GAVE_UP)
        finally:
            if left and self._process is process:
                self.close()  # otherwise pending answers would be taken for those of the next pages
            sender.join()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tutelage.corpus.extract_worker", *self._asked]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._owner = os.getpid()
        assert self._process.stdin is not None and self._process.stdout is not None
        _widen(self._process.stdin, self._process.stdout)
        try:
            problem = _read(self._process.stdout).decode()
        except EOFError:
            problem = f"the extraction subprocess ended before its first page (status {self._process.wait()})"
        if problem:
            self.close()
            raise ValueError(problem)
        return self._process

    def _end(self) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                if pipe:
                    pipe.close()
        return process.wait()

    def close(self) -> None:
        """Ends the process; the next page starts another."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._end()

    def __del__(self) -> None:
        self.close()


def _widen(*pipes: IO[bytes]) -> None:
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # a user may have only so much of it
            for pipe in pipes:
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _send(pipe: IO[bytes], pages: Sequence[str | bytes]) -> None:
    with suppress(BrokenPipeError):  # whoever reads the answers finds out
        for page in pages:
            _write(pipe, page.encode("utf-8", "replace") if isinstance(page, str) else page)


def _write(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(_LENGTH.pack(len(content)) + content)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _extracted(content: bytes, kind: Kind) -> Extracted:
    if kind != "pdf":
        return Extracted(page_text(content.decode(), kind))
    text, unread = pdf_text(content)
    return Extracted("", "unreadable PDF") if text is None else Extracted(text, "", unread)


def serve(kind: Kind, seconds: float, mebibytes: int) -> None:
    """Extract the pages on standard input until it ends."""
    pages, answers = sys.stdin.buffer, sys.stdout.buffer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked decides when to stop
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        _extracted(b"<p>.</p>", kind)  # what is imported takes none of the first page's time
    except ValueError as error:
        _write(answers, str(error).encode())
        return
    _write(answers, b"")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mebibytes << 20, hard))
    while True:
        try:
            page = _read(pages)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            found = _extracted(page, kind)
        except Exception:  # whatever a parser raises on a broken page, it is that page which is lost
            found = Extracted("", _GAVE_UP)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(answers, msgspec.json.encode(found))


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))  # type: ignore[arg-type]
