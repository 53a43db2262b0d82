"""What an unsafe sandbox still keeps, and when a program is refused."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from sandboxed import processes_with, sleeper, wait_until

from tutelage import sandbox
from tutelage.sandbox import SandboxResult, check_available, run_python


def test_without_namespaces_a_program_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    check_available.cache_clear()
    try:
        result = run_python("print(1)")
        assert (result.status, result.stdout) == ("refused", "")
        assert result.reason.startswith("no sandbox on this machine (it is not Linux); --unsafe-sandbox")
    finally:
        check_available.cache_clear()


def test_a_failing_system_call_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The supervisor says which call failed: here the interpreter is a program that says what the supervisor would."""
    fake = tmp_path / "python"
    text = "refused\\tunshare failed: Operation not permitted"
    fake.write_text(f"#!{sys.executable}\nimport os, sys\nos.write(int(sys.argv[5]), b'{text}')\n")
    fake.chmod(0o700)
    monkeypatch.setattr(sys, "_base_executable", str(fake))
    check_available.cache_clear()
    try:
        assert "(unshare failed: Operation not permitted)" in check_available()
    finally:
        check_available.cache_clear()


def unsafe(code: str, seconds: float = 0.5) -> SandboxResult:
    return run_python(code, seconds=seconds, memory_mib=128, unsafe=True)


def test_unsafe_runs_in_an_empty_folder_without_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "swordfish")
    result = unsafe("import os; print(os.listdir(), os.environ.get('API_KEY')); open('a', 'w'); os.mkdir('b')")
    assert (result.status, result.stdout) == ("ok", "[] None\n")


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(99)"])
def test_unsafe_limits_time(code: str) -> None:
    assert unsafe(code, 0.2).status == "timed out"


def test_unsafe_limits_output_and_files() -> None:
    assert unsafe("while True: print('x' * 9999)").reason == "more than 64 KiB of output"
    assert "File too large" in unsafe("open('big', 'wb').truncate(1 << 40)").stderr
    assert "Too many open files" in unsafe("files = [open(f'{n}', 'w') for n in range(10**5)]").stderr


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit address space")
def test_unsafe_limits_memory() -> None:
    assert "MemoryError" in unsafe("bytearray(1 << 30)").stderr


def test_unsafe_kills_the_process_group() -> None:
    marker = f"group-of-{os.getpid()}-{time.monotonic_ns()}"
    result = unsafe(
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', '{marker}'])\nprint('left')"
    )
    assert (result.status, result.stdout) == ("ok", "left\n")
    wait_until(lambda: processes_with(marker) == [])


def test_unsafe_does_not_wait_for_what_escaped() -> None:
    start = time.monotonic()
    result = unsafe("import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(4); os._exit(0)\nprint('done')")
    assert (result.status, result.stdout) == ("ok", "done\n")
    assert time.monotonic() - start < 4


def test_unsafe_a_killed_supervisor_is_not_a_pass() -> None:
    result = unsafe("import os; os.kill(os.getppid(), 9)")
    assert (result.status, result.reason) == ("killed", "the sandbox was killed")


def test_unsafe_symlinks_are_not_followed_when_the_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    unsafe(f"import os; os.symlink({str(tmp_path)!r}, 'link'); os.mkdir('d'); os.chmod('d', 0)")
    assert (tmp_path / "kept").read_text() == "kept"


def test_an_interrupt_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    marker = f"interrupted-{os.getpid()}-{time.monotonic_ns()}"

    def interrupt(*_: object) -> None:
        wait_until(lambda: processes_with(marker) != [])
        raise KeyboardInterrupt

    monkeypatch.setattr(sandbox, "_read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unsafe(sleeper(marker))
    wait_until(lambda: processes_with(marker) == [])
