from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.extract import ExtractSettings, extract
from tutelage.corpus.extract_worker import ExtractWorker
from tutelage.records import Document

HTML = {"content_type": "text/html"}
SENTENCE = "This sentence is long enough to be taken for what the page is about, and it ends with a full stop."
# Each element is closed by the next, and the parser goes through all open ones to find out.
SLOW = "<p><a><b><i><u>" * 60_000


def test_html_becomes_text_and_the_rest_stays() -> None:
    batch = DocumentBatch(
        [
            Document(f"<p>{SENTENCE}</p>", "page", HTML),
            Document("<p>no page</p>", "text", {"content_type": "text/plain"}),
            Document("<script>x</script>", "nothing", HTML),
            Document("<p>unnamed</p>", "unnamed"),
        ]
    )
    batch.enter("extract")
    extract(ExtractSettings())(batch)
    assert [document.text for document in batch.documents] == [SENTENCE, "<p>no page</p>", "<p>unnamed</p>"]
    assert [(gone.document.id, gone.reason) for gone in batch.dropped] == [("nothing", "no text")]
    assert batch.modified["extracted from HTML"].documents == 1


def test_a_page_that_takes_too_long_costs_only_itself() -> None:
    worker = ExtractWorker("fast", 0.05, 4096)
    try:
        assert worker.text(f"<p>{SENTENCE}</p>").text == SENTENCE
        assert worker.text(SLOW).problem == "timeout after 0.05 s"
        assert worker.text(f"<p>{SENTENCE}</p>").text == SENTENCE
    finally:
        worker.close()


def test_a_parser_that_dies_costs_only_its_page() -> None:
    worker = ExtractWorker("fast", 10, 4096)
    try:
        assert worker.text("<p>x.</p>").text == "x."
        assert worker._worker is not None
        os.kill(worker._worker.pid, signal.SIGKILL)
        assert worker.text("<p>x.</p>").problem == "parser failed"
        assert worker.text("<p>x.</p>").text == "x."
    finally:
        worker.close()


def test_pages_that_fill_the_memory_cost_only_themselves() -> None:
    worker = ExtractWorker("fast", 10, 600)
    try:
        assert worker.text("<p>x.</p>").text == "x."
        assert worker.text("<p>" * 30_000_000).problem == "parser failed"
        assert worker.text("<p>x.</p>").text == "x."
    finally:
        worker.close()


def test_large_pages_and_answers() -> None:
    worker = ExtractWorker("fast", 10, 4096)
    try:
        for number in range(3):  # larger than what a pipe holds
            assert worker.text(f"<p>{number} {SENTENCE * 2000}</p>").text[:1] == str(number)
        assert worker.text("<p>\ud800 x.</p>").text == "? x."
    finally:
        worker.close()


def test_a_forked_process_asks_one_of_its_own() -> None:
    worker = ExtractWorker("fast", 10, 4096)
    assert worker.text("<p>mine.</p>").text == "mine."
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(send, worker.text("<p>theirs.</p>").text.encode())
        os._exit(0)
    assert worker.text("<p>mine again.</p>").text == "mine again."
    os.waitpid(child, 0)
    assert os.read(receive, 100) == b"theirs."
    for end in (receive, send):
        os.close(end)
    worker.close()


def test_the_process_ends_with_the_one_that_asked() -> None:
    program = (
        "from tutelage.corpus.extract_worker import ExtractWorker\n"
        "import os, signal\n"
        "worker = ExtractWorker('fast', 10, 4096)\n"
        "worker.text('<p>x</p>')\n"
        "print(worker._worker.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
    pid = int(done.stdout)
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return  # ended, and nobody has looked yet
        time.sleep(0.01)
    pytest.fail("the process goes on")


def test_what_is_not_installed_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trafilatura.py").write_text("raise ImportError('broken on purpose')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"broken on purpose.*pip install 'tutelage\[corpus\]'"):
        ExtractWorker("careful", 1, 4096).text("<p>x</p>")


def test_settings_that_cannot_be_used_are_a_sentence() -> None:
    with pytest.raises(SettingsError, match="seconds must be above 0"):
        ExtractSettings(seconds=0)
