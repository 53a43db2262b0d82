"""`tutelage serve` as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from served import CHAT, HELLO, tiny_checkpoint

from tutelage.cli import main
from tutelage.model.hub import save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("serve") / "tiny"
    save_model(path, tiny_checkpoint(context=4096))
    return path


@contextmanager
def started(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port, and its address."""
    command = [sys.executable, "-m", "tutelage", "serve", str(folder), "--port", "0", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert found, line
            yield process, found[0]
        finally:
            process.kill()


def stream(url: str, max_tokens: int, began: threading.Semaphore, results: list[str]) -> None:
    body = {**HELLO, "stream": True, "max_tokens": max_tokens, "ignore_eos": True}
    text = ""
    with httpx2.stream("POST", f"{url}{CHAT}", json=body, timeout=60, trust_env=False) as response:
        for part in response.iter_text():
            if not text:
                began.release()
            text += part
    results.append(text)


def run_streams(url: str, max_tokens: int) -> tuple[list[threading.Thread], list[str]]:
    began, results = threading.Semaphore(0), list[str]()
    threads = [threading.Thread(target=stream, args=(url, max_tokens, began, results)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert began.acquire(timeout=60)
    return threads, results


@pytest.mark.parametrize("drains", [True, False], ids=["ends in time", "too long"])
def test_sigterm_under_load_ends_every_stream_with_a_finish_or_an_error(folder: Path, drains: bool) -> None:
    with started(folder, "--drain", "60" if drains else "0.2") as (process, url):
        half_open = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        half_open.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: local")  # and never more
        threads, results = run_streams(url, 150 if drains else 4000)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(90)
        assert process.wait(60) == 0
        half_open.close()
    assert len(results) == 4
    for text in results:
        assert text.endswith("data: [DONE]\n\n") == drains
        last = json.loads(text.removesuffix("data: [DONE]\n\n").strip().rpartition("data: ")[2])
        if drains:
            assert last["choices"][0]["finish_reason"] == "length"
        else:
            assert last["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines; give --api-key-file"),
        (["--api-key-file", "nothing"], "nothing"),
        (["{folder}"], "two models are named 'tiny'"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(folder: Path, options: list[str], sentence: str) -> None:
    filled = [option.format(folder=folder) for option in options]
    result: Any = CliRunner().invoke(main, ["serve", str(folder), "--port", "0", *filled])
    assert result.exit_code == 1
    assert sentence in result.output
    assert "Traceback" not in result.output
