"""A curation over a flaky server completes, or fails and publishes nothing; the same command then resumes it."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.corpus.shards import corpus_files, corpus_result, read_documents
from tutelage.io import open as module

SLOW = 0.5  # seconds in which the server sends nothing
TEXTS = [f"Words of row {n}. " * 30 for n in range(400)]
FILES = {
    f"/{name}.jsonl": "".join(json.dumps({"id": f"{name}{n}", "text": text}) + "\n" for n, text in enumerate(TEXTS))
    for name in "ab"
}


class Server(BaseHTTPRequestHandler):
    """Serves FILES with range requests. faults: what happens to the requests for each file, in turn."""

    faults: dict[str, list[str]] = {}
    met: Counter[str] = Counter()
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """The size of a file."""
        self._answer(False)

    def do_GET(self) -> None:
        """A file or a range of it, or the next fault."""
        self._answer(True)

    def _answer(self, with_content: bool) -> None:
        faults = self.faults.get(self.path, [])
        fault = faults.pop(0) if faults else ""
        self.met[fault] += 1
        content = FILES.get(self.path, "").encode()
        if fault == "503" or not content:
            self.send_response(503 if fault else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, stop = 0, len(content)
        if asked := self.headers.get("Range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or stop) + 1, stop)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if with_content:
            self._send(content[start:stop], fault)

    def _send(self, content: bytes, fault: str) -> None:
        self.wfile.write(content[: len(content) // 2])
        if fault == "slow":
            time.sleep(SLOW)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = fault != ""
        if fault != "reset":
            self.wfile.write(content[len(content) // 2 :])

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The command that curates the files of a running server."""
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(module, "SILENT_SECONDS", SLOW / 3)
    monkeypatch.setattr(Server, "met", Counter())
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{running.server_address[1]}"
        table = f'name = "x"\ninput = ["{address}/a.jsonl", "{address}/b.jsonl"]\nworkers = 1\nshard_mib = 0.001\n'
        (tmp_path / "x.toml").write_text(table + '[steps]\nsame = { kind = "dedup_exact" }\n')
        yield ["curate", str(tmp_path / "x.toml"), f"out={tmp_path / 'out'}"]
        running.shutdown()
        thread.join()


# aiohttp leaves a broken connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_run_over_a_flaky_server_completes(
    recipe: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = ["503", "", "reset", "503", "slow", "", "reset", "slow", "503"]
    monkeypatch.setattr(Server, "faults", {path: [*faults] for path in FILES})
    done = CliRunner().invoke(main, recipe)
    assert done.exit_code == 0, done.output
    found = [document.id for file in corpus_files(tmp_path / "out") for document in read_documents(file)]
    assert found == [f"{name}{n}" for name in "a" for n in range(400)]  # b has the same texts
    read = corpus_result(tmp_path / "out")["read"]
    assert (read["rows_read"], read["dropped"]) == (800, {})
    assert all(Server.met[fault] for fault in ("503", "reset", "slow"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fault", ["503", "reset", "slow"])
def test_a_server_that_stays_broken_publishes_nothing(
    fault: str, recipe: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "faults", {"/b.jsonl": ["", *[fault] * 60]})
    failed = CliRunner().invoke(main, recipe)
    assert failed.exit_code == 1 and "cannot read http" in failed.output
    assert not (tmp_path / "out" / "curation.json").exists()
    assert not list((tmp_path / "out").glob("*.zst"))
    monkeypatch.setattr(Server, "faults", {})
    done = CliRunner().invoke(main, recipe)
    assert done.exit_code == 0, done.output
    assert corpus_result(tmp_path / "out")["read"]["rows_read"] == 800
