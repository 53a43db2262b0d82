"""The log: nothing that was acknowledged is lost, whatever ends the process."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from annotate_helpers import items
from hypothesis import given
from hypothesis import strategies as st

from tutelage.annotate.events import Assignment, Event, LogSettings, Submission
from tutelage.annotate.log import open_log, read_log
from tutelage.files import DiskError

EVENTS: list[Event] = [LogSettings(task="rank", overlap=2), *items(2), Assignment(item="i", person="ann", order=(1, 0))]


def vote(id_: str) -> Submission:
    return Submission(id=id_, item="i", person="ann", ranks=(1, None, 2))


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    with open_log(path) as log:
        assert log.events == []
        log.append(*EVENTS)
        log.append(vote("first-id"))
    with open_log(path) as log:
        assert log.events == [*EVENTS, vote("first-id")]
        log.append(vote("second-id"))
    assert read_log(path) == [*EVENTS, vote("first-id"), vote("second-id")]


@given(cut=st.integers(0, 400))
def test_a_log_cut_at_any_byte_keeps_every_whole_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    with open_log(path) as log:
        log.append(*[vote(f"number-{n}") for n in range(3)])
    data = path.read_bytes()
    cut = min(cut, len(data))
    path.write_bytes(data[:cut])
    with open_log(path) as log:
        # A line that lacks nothing but its end is whole.
        complete = data[:cut].count(b"\n") + (data[cut : cut + 1] == b"\n")
        assert log.events == [vote(f"number-{n}") for n in range(complete)]
        log.append(vote("number-9"))
    assert read_log(path)[-1] == vote("number-9")
    assert len(read_log(path)) == complete + 1


def test_a_full_disk_is_an_error_and_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        log.append(vote("number-1"))
        size = path.stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
            with pytest.raises(DiskError, match=r"log\.jsonl"):
                log.append(vote("number-2"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert path.stat().st_size == size
        log.append(vote("number-3"))
    assert read_log(path) == [vote("number-1"), vote("number-3")]


def test_two_processes_do_not_write_to_one_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(path):
        opened = f"log.open_log(Path({str(path)!r})).__enter__()"
        code = f"from pathlib import Path; from tutelage.annotate import log; {opened}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "another process writes to" in done.stderr


def test_damage_in_the_middle_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with open_log(path) as log:
        log.append(vote("number-1"), vote("number-2"))
    path.write_bytes(path.read_bytes().replace(b'"number-2"', b'"number-2'))
    with pytest.raises(ValueError, match=r"log\.jsonl:2 is no event"):
        read_log(path)


def test_a_file_of_another_kind_and_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"prompt": "a"}\n')
    with pytest.raises(ValueError, match="give the log of"):
        read_log(path)
    assert path.read_text() == '{"prompt": "a"}\n'
    path.write_text('{"event": "settings", "task": "rank", "version": 99}\n')
    with pytest.raises(ValueError, match="newer version"):
        read_log(path)
