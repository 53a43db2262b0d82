"""Runs model-written Python: RL rewards, code evaluations, tools and synthesis all use `run_python`.

On Linux a program runs in namespaces of its own: no network, no files but Python's, no other processes, no environment;
time, memory, disk and output are bounded (docs/sandbox.md). Elsewhere it is refused unless `unsafe` is asked for.
"""

from __future__ import annotations

import functools
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Literal, cast

MAX_OUTPUT = 64 << 10  # bytes of stdout, and of stderr
START_SECONDS = 30  # to set up on a loaded machine; the clock of the program starts after it
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """What a program wrote and how it ended: "error" is an exit status other than 0, "killed" a signal or a limit of
    memory or output, "refused" not run. `reason` says more, `seconds` is wall-clock time with the start of Python."""

    status: Literal["ok", "error", "timed out", "killed", "refused"]
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    reason: str = ""


@functools.cache
def check_available() -> str:
    """Why programs cannot be isolated on this machine, in a sentence, or "". Found by running one, once a process."""
    result = SandboxResult("refused", reason="it is not Linux")
    if sys.platform == "linux" and (result := _run("print(6 * 7)", "", 10, 512, root="")).stdout == "42\n":
        return ""
    why = result.reason or result.stderr[-200:]
    return f"no sandbox on this machine ({why}); --unsafe-sandbox runs model-written code with your rights"


def run_python(
    code: str, *, tests: str = "", stdin: str = "", seconds: float = 5, memory_mib: int = 512, unsafe: bool = False
) -> SandboxResult:
    """Runs a program with the standard library and waits for its end. May be called from several threads at once.

    tests: more code to run after it. "ok" then means that its end was reached: leaving early does not pass. A program
        that inspects its own process can still forge a pass.
    seconds: limit of CPU time, all processes of the program together; of wall-clock time, 2 * seconds + 1.
    memory_mib: limit of each process (MemoryError), and of all together (killed).
    unsafe: only limit the program, do not isolate it: it may read, write, send and kill whatever the caller may.
    """
    if not unsafe and (reason := check_available()):
        return SandboxResult("refused", reason=reason)
    half, other = secrets.token_hex(8), secrets.token_hex(8)  # apart, so that printing the source does not pass
    if tests:
        code = f"{code}\n\n{tests}\n\n__import__('os').write(1, b'{half}' b'{other}')\n"
    folder = TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True) if unsafe else nullcontext("")
    with folder as root:
        result = _run(code, stdin, seconds, memory_mib, root)
    if tests and half + other not in result.stdout and result.status == "ok":
        result = replace(result, status="error", reason="exited before the end of the tests")
    return replace(result, stdout=result.stdout.replace(half + other, ""))


def _run(code: str, stdin: str, seconds: float, memory_mib: int, root: str) -> SandboxResult:
    """Starts `inside.py`, which isolates the program where `root` is "", else puts it into that folder."""
    start, wall_seconds = time.monotonic(), 2 * seconds + 1
    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))  # without a virtual environment
    with TemporaryFile() as code_file, TemporaryFile() as stdin_file:
        for file, text in ((code_file, code), (stdin_file, stdin)):
            file.write(text.encode("utf-8", "replace"))
            file.seek(0)
        status_fd, inside_fd = os.pipe()
        options = (code_file.fileno(), inside_fd, root, seconds, wall_seconds, memory_mib)
        with os.fdopen(status_fd, "rb") as status_pipe:
            try:
                process = subprocess.Popen(
                    [python, "-I", "-S", str(Path(__file__).with_name("inside.py")), *map(str, options)],
                    stdin=stdin_file,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=(code_file.fileno(), inside_fd),
                    env={**ENVIRONMENT, "HOME": f"{root}/tmp"},
                    start_new_session=True,
                )
            finally:
                os.close(inside_fd)
            with process:  # which waits
                try:
                    out, err, end = _read(process, status_pipe, start + wall_seconds + START_SECONDS)
                finally:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)  # before it is waited for: the number is still its own
            status_pipe.read()  # ends with the supervisor, a moment after the launcher where that was killed
    status, _, reason = end.partition("\t")
    return SandboxResult(cast(Literal["ok"], status), out, err, time.monotonic() - start, reason)


def _read(process: subprocess.Popen[bytes], status_pipe: IO[bytes], deadline: float) -> tuple[str, str, str]:
    """stdout, stderr and "status<TAB>reason". Ends when the status pipe does: what an unsafe sandbox leaves running may
    hold the others open."""
    data = {cast(IO[bytes], pipe): bytearray() for pipe in (process.stdout, process.stderr, status_pipe)}
    end = ""
    with selectors.DefaultSelector() as selector:
        for pipe in data:
            selector.register(pipe, selectors.EVENT_READ)
        while not end and selector.get_map():
            ended = status_pipe not in selector.get_map()
            ready = selector.select(0 if ended else max(0, deadline - time.monotonic()))
            if not ready:
                end = "" if ended else "timed out\tthe sandbox did not answer"
                break
            for key, _ in ready:
                pipe = cast(IO[bytes], key.fileobj)
                chunk = os.read(key.fd, MAX_OUTPUT)
                data[pipe] += chunk
                if not chunk:
                    selector.unregister(pipe)
                elif len(data[pipe]) > MAX_OUTPUT:
                    end = f"killed\tmore than {MAX_OUTPUT >> 10} KiB of output"
    out, err, status = (bytes(part[:MAX_OUTPUT]).decode("utf-8", "replace") for part in data.values())
    return out, err, end or status or "killed\tthe sandbox was killed"
