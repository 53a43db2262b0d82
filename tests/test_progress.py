from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from tutelage import progress
from tutelage.progress import duration, number, set_mode, status, track


@pytest.fixture(autouse=True)
def _mode_is_put_back() -> Iterator[None]:
    yield
    set_mode("auto")


def test_plain_prints_one_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with track("base", total=2000, unit="steps", start=500) as bar:
        for step in range(1500):
            bar.update(1, {"loss": 2 - step / 1000, "lr": "warm-up"})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("base: 2,000/2,000 steps, ")
    assert err.endswith("steps/s, took 0.0 s, loss 0.501, lr warm-up\n")


def test_lines_come_at_most_every_interval(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(progress.INTERVALS, "plain", 0.0)
    with track("read", total=None, unit="rows") as bar:
        for _ in range(3):
            bar.update(10)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "read: 10 rows",
        "read: 20 rows",
        "read: 30 rows",
        "read: 30 rows",
    ]


def test_stopped_work_reports_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), track("base", total=10, unit="steps") as bar:
        bar.update(4)
        raise KeyboardInterrupt
    assert capsys.readouterr().err.startswith("base: stopped at 4/10 steps, ")


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_mode("json")
    monkeypatch.setitem(progress.INTERVALS, "json", 0.0)
    status("two\nlines")
    with track("base", total=4, unit="steps", start=1) as bar:
        bar.update(1, {"loss": float("nan"), "phase": "warm-up"})
    first, second, last = map(json.loads, capsys.readouterr().err.splitlines())
    assert first == {"event": "status", "message": "two\nlines"}
    assert (second["event"], second["label"], second["done"], second["total"]) == ("progress", "base", 2, 4)
    assert second["numbers"] == {"loss": None, "phase": "warm-up"}
    assert second["seconds_left"] == pytest.approx(2 / second["per_second"], rel=0.01)
    assert last["event"] == "done"


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    set_mode("quiet")
    status("hello")
    with track("base", total=1, unit="steps") as bar:
        bar.update()
    assert capsys.readouterr() == ("", "")


def test_numbers_are_read_only_when_they_are_drawn() -> None:
    class Loss:
        """Stands for a tensor on a GPU, which is expensive to read."""

        read = 0

        def __float__(self) -> float:
            self.read += 1
            return 1.0

    loss = Loss()
    with track("base", total=1000, unit="steps") as bar:
        for _ in range(1000):
            bar.update(1, {"loss": loss})
    assert loss.read == 1


WORK = textwrap.dedent("""
    import os, sys, time
    from tutelage import progress
    from tutelage.progress import set_mode, status, track

    progress.INTERVALS.update(plain=0.0, json=0.0, terminal=0.0)
    if sys.argv[1] != "auto":
        set_mode(sys.argv[1])
    if sys.argv[2] == "close":
        sys.stderr.close()
    if sys.argv[2] == "none":
        sys.stderr = None
    with track("outer [x]", total=3, unit="rows") as outer:
        for _ in range(3):
            with track("inner", total=None, unit="steps") as inner:
                inner.update(2, {"loss": 0.25})
                status("a [notice]")
            outer.update()
    print("finished")
""")


@pytest.mark.parametrize("mode", ["auto", "plain", "json"])
@pytest.mark.parametrize("stderr", ["close", "none", "pipe"])
def test_work_continues_with_standard_error_closed(mode: str, stderr: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    target = write_end if stderr == "pipe" else subprocess.PIPE
    done = subprocess.run(
        [sys.executable, "-c", WORK, mode, stderr], stdout=subprocess.PIPE, stderr=target, check=False, text=True
    )
    os.close(write_end)
    assert (done.returncode, done.stdout) == (0, "finished\n")
    assert not done.stderr


def on_a_terminal(environment: dict[str, str]) -> tuple[str, str, int]:
    """What WORK draws on a terminal, what it prints to standard output, and how it exits."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", WORK, "auto", "keep"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "COLUMNS": "100", **environment},
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux ends a terminal that nobody writes to any more with an error
            break
        if not chunk:
            break
        drawn += chunk
    os.close(ours)
    out, _ = child.communicate()
    return drawn.decode(), out, child.returncode


def test_a_terminal_shows_bars_above_each_other_and_keeps_one_line_of_each() -> None:
    drawn, out, code = on_a_terminal({"TERM": "xterm"})
    assert (out, code) == ("finished\n", 0)
    assert "\x1b[" in drawn
    assert "━" in drawn
    assert "Traceback" not in drawn
    assert drawn.count("a [notice]") == 3
    assert drawn.count("inner: 2 steps, ") == 3
    assert drawn.count("outer [x]: 3/3 rows, ") == 1
    assert "loss 0.25" in drawn


def test_a_dumb_terminal_gets_plain_lines() -> None:
    drawn, _, code = on_a_terminal({"TERM": "dumb"})
    assert code == 0
    assert "\x1b" not in drawn
    assert "outer [x]: 3/3 rows, " in drawn


def test_number() -> None:
    assert [number(x) for x in (0.00123456, 74.689, 12345.6, 2e15)] == ["0.001235", "74.69", "12,346", "2e+15"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
