"""The live view of training, over the files of runs that are not finished."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
import uvicorn
from browser import CHROMIUM, browser
from click.testing import CliRunner

from tutelage.cli import main
from tutelage.report.live import open_run, read_now, short_names, version
from tutelage.report.live_text import blocks
from tutelage.runner import Run
from tutelage.serve.server import listen
from tutelage.serve.watch import watch_app


@pytest.fixture
def half(tales_run: Run, tmp_path: Path) -> Path:
    """A run whose chat stage is in its twelfth step, and whose log ends within a line."""
    folder = tmp_path / "half"
    shutil.copytree(tales_run.folder, folder, ignore=shutil.ignore_patterns("data", "*.safetensors"))
    for name in ("stage.json", "evaluate"):
        path = folder / "chat" / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    (folder / "summary.json").unlink()
    log = folder / "chat" / "train.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    (tmp_path / "rest").write_text("".join(lines[12:]))
    log.write_text("".join(lines[:12]) + lines[12][:20])
    return folder


@contextmanager
def watching(folders: Sequence[Path], key: str = "") -> Iterator[str]:
    """The address of a server over these runs."""
    listener = listen("127.0.0.1", 0)
    app = watch_app(folders, frozenset({"127.0.0.1"}), key)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", http="h11"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


def get(url: str, **headers: str) -> httpx2.Response:
    return httpx2.get(url, headers=headers, timeout=60, trust_env=False)


def digest(folder: Path) -> str:
    """Of all files of a folder: names and content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(f"{path}".encode() + path.read_bytes() for path in files)).hexdigest()


def test_a_stage_in_training_is_shown_with_its_curves_and_samples(half: Path) -> None:
    before = digest(half)
    stages = {stage.name: stage for stage in read_now(open_run(half))}
    assert (stages["base"].state, stages["chat"].state) == ("finished", "training")
    assert stages["chat"].log[-1]["step"] == 12  # the line that is being written is left out
    with watching([half]) as url:
        text = get(url).text
        assert "Training now: chat" in text
        assert "Dev eval during training" in text
        assert "12<" in re.sub(r"\s", "", text)
        assert get(url, Host="evil.example").status_code == 403
        assert get(f"{url}/run/3").status_code == 404
    assert digest(half) == before  # nothing was written


def test_the_version_changes_with_every_file(half: Path) -> None:
    first = version([half])
    assert version([half]) == first
    with (half / "chat" / "train.jsonl").open("a") as log:
        log.write("x")
    assert version([half]) != first


def test_several_runs_are_side_by_side(half: Path, tales_run: Run) -> None:
    with watching([half, tales_run.folder]) as url:
        text = get(url).text
        assert text.count("Training loss") >= 2  # a plot for each stage
        assert ">half<" in text
        assert f">{tales_run.folder.name}<" in text
        single = get(f"{url}/run/1").text
        assert "Diagnosis" in single
        assert 'href="../"' in single


def test_a_key_is_asked_for_everywhere_and_a_browser_asks_for_it(half: Path) -> None:
    with watching([half], key="secret") as address:
        for path in ("/", "/run/0", "/version"):
            refused = get(f"{address}{path}")
            assert refused.status_code == 401 and refused.headers["www-authenticate"].startswith("Basic ")
        for given in ("any:wrong", "secret:", "any"):
            basic = base64.b64encode(given.encode()).decode()
            assert get(f"{address}/version", authorization=f"Basic {basic}").status_code == 401
        assert get(f"{address}/version", authorization="Basic ???").status_code == 401
        basic = base64.b64encode(b"any:secret").decode()
        for right in (f"Basic {basic}", "Bearer secret"):
            assert get(f"{address}/version", authorization=right).status_code == 200


def test_a_network_needs_a_key(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUTELAGE_API_KEY", raising=False)
    result = CliRunner().invoke(main, ["watch", str(half), "--host", "0.0.0.0"])
    assert result.exit_code == 1 and "give --api-key-file or TUTELAGE_API_KEY" in result.output


def test_runs_are_named_by_the_ends_of_their_paths() -> None:
    assert short_names([Path("/runs/a"), Path("/runs/b")]) == ["a", "b"]
    assert short_names([Path("/x/a"), Path("/y/a"), Path("/y/b")]) == ["x/a", "y/a", "y/b"]
    assert short_names([Path("/a"), Path("/a")]) == ["/a (1)", "/a (2)"]


def test_the_terminal_shows_the_same_table(half: Path, tales_run: Run) -> None:
    before = digest(half)
    text = CliRunner().invoke(main, ["watch", str(half), "--text"]).output
    row = next(line for line in text.splitlines() if "training" in line)
    assert "chat" in row
    assert "12 of 24" in row
    assert re.search("[▁▂▃▄▅▆▇█]{12}", row)
    both = [str(half), str(tales_run.folder)]
    stages = json.loads(CliRunner().invoke(main, ["watch", *both, "--text", "--json"]).output)
    states = [(stage["stage"], stage["state"], stage["step"]) for stage in stages]
    assert states == [
        ("base", "finished", 30),
        ("chat", "training", 12),
        ("base", "finished", 30),
        ("chat", "finished", 24),
    ]
    assert stages[1]["loss"] == open_loss(half, 12)
    assert digest(half) == before


def open_loss(run: Path, step: int) -> float:
    lines = map(json.loads, (run / "chat" / "train.jsonl").read_text().splitlines()[:step])
    return next(line["loss"] for line in lines if line["step"] == step)


def test_blocks_reach_from_the_lowest_to_the_highest_mean() -> None:
    assert blocks(np.arange(8.0)) == "▁▂▃▄▅▆▇█"
    assert blocks(np.array([2.0, 2.0])) == "▁▁"
    assert blocks(np.array([])) == ""
    assert len(blocks(np.arange(1000.0))) == 15


def test_a_broken_file_is_one_sentence(half: Path) -> None:
    (half / "base" / "stage.json").write_text("{}")
    with watching([half]) as url:
        response = get(url)
        assert response.status_code == 500
        assert "stage.json" in response.text


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["watch", str(tmp_path), "--port", "0"])
    assert result.exit_code == 1
    assert "is no run" in result.output


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
def test_the_page_follows_the_run_in_a_browser(half: Path, tales_run: Run, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as page:
        with watching([half]) as url, watching([half, tales_run.folder]) as both:
            for address in (url, both):
                for width in (1280, 400):
                    page.open(address, width, dark=width == 400)
                    page.wait("document.getElementById('watching')")
                    assert page.overflow() == []
            page.open(url)
            page.wait("shownVersion")
            page.run("document.querySelector('details').open = true")
            log = half / "chat" / "train.jsonl"
            lines = log.read_text()
            log.write_text(lines[: lines.rfind("\n") + 1] + (tmp_path / "rest").read_text())
            page.wait("document.querySelector('.facts dd').textContent.startsWith('24')")
            assert page.run("document.querySelector('details').open")
            # The kit's script ran over the new plots.
            assert page.run("document.querySelector('.plot svg').getAttribute('tabindex')") == "0"
            assert page.errors == []
            assert all(request.startswith("http://127.0.0.1:") for request in page.requests)
        page.wait("document.querySelector('#watching.lost')")  # and says so when the server has ended
