from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tutelage.corpus.fetch import cache_folder, fetch, local_file
from tutelage.corpus.text import TextSettings, text_file

CONTENT = "Grüße aus Köln\n".encode() * 200_000  # longer than what is read at once
SHA256 = hashlib.sha256(CONTENT).hexdigest()
INSTEAD = "give the text as a file"


class Handler(BaseHTTPRequestHandler):
    """Answers as the path says; the server counts what it was asked."""

    protocol_version = "HTTP/1.1"
    asked: Counter[str]

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        self.close_connection = True
        if self.path == "/nonsense":
            self.wfile.write(b"nonsense\r\n\r\n")
            return
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif self.path != "/unsized":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/chunked":
            self.wfile.write(b"5\r\nGr")  # a chunk of five bytes, of which two come
        else:
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/half" else CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: standard error is the test's."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Counter[str]]]:
    """A server's address and how often each of its paths was asked for; files are kept in `tmp_path`/kept."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "kept"))
    Handler.asked = Counter()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", Handler.asked
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/file", "/unsized"])
def test_a_file_is_fetched_once_and_then_taken_from_the_cache(
    server: tuple[str, Counter[str]], tmp_path: Path, path: str
) -> None:
    address, asked = server
    for _ in range(3):
        found = fetch(address + path, SHA256, INSTEAD)
        assert found.read_bytes() == CONTENT
        assert found.parent == tmp_path / "kept"
    assert asked == {path: 1}
    assert fetch("http://127.0.0.1:1/elsewhere", SHA256, INSTEAD) == found  # what it holds is known, not whence it came
    assert list((tmp_path / "kept").iterdir()) == [found]


def test_another_file_than_the_right_one_is_refused_and_not_kept(
    server: tuple[str, Counter[str]], tmp_path: Path
) -> None:
    address, asked = server
    for times in (1, 2):
        with pytest.raises(ValueError, match="has changed") as error:
            fetch(f"{address}/file", "0" * 64, INSTEAD)
        assert str(error.value) == f"{address}/file has changed: its SHA-256 is {SHA256}; {INSTEAD}"
        assert not list((tmp_path / "kept").iterdir())
        assert asked["/file"] == times


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/half", f"{len(CONTENT) // 2:,} of {len(CONTENT):,} bytes"),
        ("/chunked", "IncompleteRead"),
        ("/nonsense", "nonsense"),
        ("/missing", "Not Found"),
    ],
)
def test_an_answer_that_is_broken_off_or_none_at_all_is_one_sentence(
    server: tuple[str, Counter[str]], tmp_path: Path, path: str, reason: str
) -> None:
    address, _ = server
    with pytest.raises(ValueError, match=f"^{address}{path} could not be downloaded ") as error:
        fetch(address + path, SHA256, INSTEAD)
    assert reason in str(error.value)
    assert str(error.value).endswith(f"; {INSTEAD}")
    assert not list((tmp_path / "kept").iterdir())
    assert fetch(f"{address}/file", SHA256, INSTEAD).read_bytes() == CONTENT  # the next try begins anew


def test_without_a_server_the_sentence_says_what_to_do_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "kept"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/file"
    with pytest.raises(ValueError, match="refused") as error:
        text_file(TextSettings(url=url, sha256=SHA256), "data.plays")
    assert str(error.value).startswith(f"{url} could not be downloaded (")
    assert str(error.value).endswith("); download it yourself and set data.plays.path=FILE")
    assert not list((tmp_path / "kept").iterdir())


def test_the_cache_stands_in_the_home_folder_unless_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("TUTELAGE_CACHE", raising=False)
        else:
            monkeypatch.setenv("TUTELAGE_CACHE", value)
        assert cache_folder() == tmp_path / ".cache" / "tutelage"


def test_a_file_at_an_address_is_copied_once_and_again_where_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "kept"))
    memory = fsspec.filesystem("memory")
    memory.pipe("/models/good.bin", CONTENT)
    copy = local_file("memory://models/good.bin")
    assert copy.name == "good.bin"
    assert copy.read_bytes() == CONTENT
    copy.write_bytes(b"kept")
    assert local_file("memory://models/good.bin").read_bytes() == b"kept"
    memory.pipe("/models/good.bin", b"another")
    assert local_file("memory://models/good.bin").read_bytes() == b"another"
    assert local_file("some/file.txt") == Path("some/file.txt")


@pytest.mark.parametrize("address", ["memory://nowhere/file.bin", "nosuch://file.bin"])
def test_an_address_without_a_file_is_a_sentence(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=f"{address} cannot be read .*; check the URL"):
        local_file(address)
