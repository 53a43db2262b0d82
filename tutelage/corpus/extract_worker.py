"""A process that extracts text from HTML and PDF. A page that crashes the parser, takes too long or fills the memory
loses only itself. The process limits itself by a timer, which also fires if the parser never returns."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tutelage.corpus.ocr import Ocr
from tutelage.corpus.page_text import page_text
from tutelage.corpus.pdf import pdf_text
from tutelage.workers import Worker, WorkerDied

Kind = Literal["fast", "careful", "pdf"]  # HTML in one of two ways, or PDF

_GAVE_UP = "parser failed"


class Extracted(NamedTuple):
    """The text of a page, or why there is none; for a PDF also its number of pages, of unreadable ones, of those
    without text and of those read by OCR."""

    text: str
    problem: str = ""
    pages: int = 0
    unread: int = 0
    blank: int = 0
    scanned: int = 0


class ExtractWorker:
    """Sends pages to its process one by one, and starts another if it ended."""

    def __init__(
        self, kind: Kind, seconds: float, mebibytes: int, ocr: Ocr | None = None, headline: bool = False
    ) -> None:
        self._extract = _Extract(kind, seconds, mebibytes, ocr, headline)
        self._worker: Worker | None = None
        self._owner = os.getpid()

    def text(self, page: str | bytes) -> Extracted:
        """The text of an HTML page, or of the content of a PDF.

        Raises:
            ValueError: the process cannot start; the message says what to install.
        """
        return next(self.texts([page]))

    def texts(self, pages: Sequence[str | bytes]) -> Iterator[Extracted]:
        """`text` of each page, in order. Faster than single calls, because the process never waits for a page."""
        done = 0
        while done < len(pages):
            worker = self._started()
            try:
                for found in worker.run_all(pages[done:]):
                    done += 1
                    yield found
            except WorkerDied as error:
                done += 1
                late = error.status == -signal.SIGPROF
                self.close()
                yield Extracted("", f"timeout after {self._extract.seconds:g} s" if late else _GAVE_UP)
            finally:
                if done < len(pages):  # otherwise pending results would be taken for those of other pages
                    self.close()

    def _started(self) -> Worker:
        if self._worker is None or self._owner != os.getpid():  # after a fork it belongs to the parent
            self._worker, self._owner = Worker(self._extract), os.getpid()
            try:
                self._worker.run(None)
            except ValueError:
                self.close()
                raise
        return self._worker

    def close(self) -> None:
        """End the process; the next page starts another."""
        if self._worker is not None and self._owner == os.getpid():
            self._worker.kill()
            self._worker.close()
            self._worker = None

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True)
class _Extract:
    """What the process runs: first on None, which prepares it, then on each page."""

    kind: Kind
    seconds: float
    mebibytes: int
    ocr: Ocr | None = None
    headline: bool = False

    def __call__(self, page: str | bytes | None) -> Extracted:
        if page is None:
            self._prepare()
            return Extracted("")
        signal.setitimer(signal.ITIMER_PROF, self.seconds)
        try:
            return self._text(page)
        except Exception:  # whatever a parser raises on a broken page, it is that page which is lost
            return Extracted("", _GAVE_UP)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _prepare(self) -> None:
        if self.ocr is not None:
            self.ocr.check()
        self._text(
            "<p>.</p>" if self.kind != "pdf" else b""
        )  # imports take none of the first page's time; raises ValueError if one is missing
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what parsers say of broken pages
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (self.mebibytes << 20, hard))

    def _text(self, page: str | bytes) -> Extracted:
        if isinstance(page, bytes):
            return Extracted(*pdf_text(page, self.ocr))
        assert self.kind != "pdf"
        try:
            return Extracted(page_text(page, self.kind, self.headline))
        except UnicodeEncodeError:  # half of a surrogate pair
            return Extracted(page_text(page.encode("utf-8", "replace").decode(), self.kind, self.headline))
