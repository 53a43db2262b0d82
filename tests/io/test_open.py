"""Reads that fail are tried again from their byte; what stays unreadable is an error, and never counted as read."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from tutelage.files import DiskError
from tutelage.io import open as module
from tutelage.io.byte_reader import read_bytes
from tutelage.io.open import open_bytes
from tutelage.io.rows import scan_rows

CONTENT = bytes(range(256)) * 2000


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.0, 0.0, 0.0))


class FlakyFile(io.FileIO):
    """A file whose reads fail at some bytes, as often as `faults` says."""

    faults: dict[int, int]

    def readinto(self, buffer: Any) -> int:
        at = self.tell()
        for place in self.faults:
            if at <= place < at + len(buffer) and self.faults[place]:
                if at < place:
                    return super().readinto(memoryview(buffer)[: place - at])
                self.faults[place] -= 1
                raise OSError(5, "Input/output error")
        return super().readinto(buffer)


@contextmanager
def flaky(path: Path, faults: dict[int, int]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "open", lambda name, *_, **__: FlakyFile(name), raising=False)
        patch.setattr(FlakyFile, "faults", faults, raising=False)
        yield


def test_a_read_that_fails_is_tried_again_from_its_byte(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with flaky(path, {0: 1, 70_000: 3, 70_001: 3, 300_000: 2}), open_bytes(path) as file:
        assert file.read() == CONTENT
        file.seek(100)
        assert (file.read(3), file.tell()) == (CONTENT[100:103], 103)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst", "json", "parquet", "csv"])
def test_a_read_that_goes_on_failing_is_an_error_with_its_byte(suffix: str, tmp_path: Path) -> None:
    """Not a damage, in no layout and no compression."""
    path = tmp_path / f"file.{suffix}"
    rows = [{"text": f"row {number} " * 50} for number in range(5000)]
    lines = "\n".join(f'{{"text": "{row["text"]}"}}' for row in rows)
    if suffix == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path, compression="none", use_dictionary=False)
    elif suffix == "json":
        path.write_text("[" + lines.replace("\n", ",") + "]")
    elif suffix == "csv":
        path.write_text("text,n\n" + "".join(f"{row['text']},1\n" for row in rows))
    else:
        with pyarrow.output_stream(str(path), compression="detect") as file:
            file.write(lines.encode())
    place = path.stat().st_size // 2
    with (
        flaky(path, {place: 9}),
        pytest.raises(DiskError, match=rf"cannot read .*{path.name} from byte {place:,}: Input"),
    ):
        for row in scan_rows(path, lambda _: True, lenient=True):
            assert isinstance(row.value, dict)


def test_what_is_missing_or_forbidden_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (1000.0,))
    with pytest.raises(DiskError, match="cannot read .*missing: no such file or directory; check the path"):
        open_bytes(tmp_path / "missing")
    with pytest.raises(DiskError, match="cannot read .*: is a directory"):
        open_bytes(tmp_path)
    with pytest.raises(DiskError, match="cannot read .*missing"):
        open_bytes("memory://missing")


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT. `ranges`: whether ranges are served. `faults`: what happens to the next requests."""

    ranges = True
    faults: list[str] = []
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """As GET, without the content."""
        self._answer(False)

    def do_GET(self) -> None:
        """Serve the content, or the next fault."""
        self._answer(True)

    def _answer(self, with_content: bool) -> None:
        fault = self.faults.pop(0) if self.faults and with_content else ""
        if fault == "503" or self.path == "/missing":
            self.send_response(503 if fault else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = CONTENT
        asked = self.headers.get("Range") if self.ranges else None
        if asked:
            start, _, stop = asked.removeprefix("bytes=").partition("-")
            content = CONTENT[int(start) : int(stop) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{int(start) + len(content) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes" if self.ranges else "none")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content[: len(content) // 3] if fault == "break" else content)
        self.close_connection = fault == "break"

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


# aiohttp leaves a broken connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("faults", [[], ["503"], ["break"], ["break", "503", "break"]])
def test_an_address_that_breaks_off_is_read_on(
    ranges: bool, faults: list[str], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "ranges", ranges)
    monkeypatch.setattr(Server, "faults", [*faults])
    with read_bytes(f"{server}/file") as reader:
        parts = list(iter(lambda: reader.read(10_000), b""))
    assert b"".join(parts) == CONTENT
    assert Server.faults == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_address_that_goes_on_failing_is_an_error(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "faults", ["break"] * 50)
    failed = r"cannot read http.*/file from byte 0: .*; check the disk or the network"
    with pytest.raises(DiskError, match=failed), read_bytes(f"{server}/file") as reader:
        reader.read(1000)
    monkeypatch.setattr(Server, "faults", ["503"] * 50)
    with (
        pytest.raises(DiskError, match="cannot read http.*/file from byte 0: .*503"),
        read_bytes(f"{server}/file") as reader,
    ):
        reader.read(1000)
    monkeypatch.setattr(module, "RETRY_SECONDS", (1000.0,))
    monkeypatch.setattr(Server, "faults", [])
    with pytest.raises(DiskError, match="cannot read http.*/missing: .*check the path"):
        open_bytes(f"{server}/missing")
