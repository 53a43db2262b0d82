"""Hostile programs in the sandbox, each with its own test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sandboxed import isolated, processes_with, run, sleeper, wait_until

from tutelage import sandbox
from tutelage.sandbox import MAX_OUTPUT, run_python


@isolated
def test_fork_bomb() -> None:
    result = run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", seconds=0.5)
    assert result.status in ("timed out", "killed")
    assert result.seconds < 5


@isolated
def test_thread_bomb() -> None:
    result = run("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()")
    assert "can't start new thread" in result.stderr or result.status in ("timed out", "killed")


@isolated
def test_memory_bomb_of_one_process() -> None:
    result = run("data = []\nwhile True: data.append(bytearray(1 << 20))")
    assert result.status in ("error", "killed")
    assert "MemoryError" in result.stderr or "memory" in result.reason


@isolated
def test_memory_bomb_of_several_processes() -> None:
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0: break
x = bytearray(60 << 20); time.sleep(9)
"""
    result = run(code, seconds=3)
    assert (result.status, result.reason) == ("killed", "more than 128 MiB of memory")


@isolated
def test_memory_bomb_in_the_working_folder() -> None:
    code = "for n in range(9): open(str(n), 'wb').write(bytes(20 << 20))"
    assert "No space left on device" in run(code).stderr


@isolated
def test_cpu_spin() -> None:
    result = run("while True: pass", seconds=0.3)
    assert (result.status, result.reason) == ("timed out", "0.3 seconds of CPU time")


@isolated
def test_cpu_spin_in_children_that_are_short() -> None:
    code = "import os\nwhile True:\n    if not os.fork():\n        sum(range(10**5)); os._exit(0)\n    os.wait()"
    assert run(code, seconds=0.3).reason == "0.3 seconds of CPU time"


@isolated
def test_sleep_forever() -> None:
    result = run("import time\ntime.sleep(1000)", seconds=0.1)
    assert (result.status, result.reason) == ("timed out", "1.2 seconds of wall-clock time")


@isolated
def test_a_short_sleep_on_a_loaded_machine_is_not_cpu_time() -> None:
    assert run("import time\ntime.sleep(0.5)", seconds=0.4).status == "ok"


@isolated
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_flood(stream: str) -> None:
    result = run(f"import sys\nwhile True: sys.{stream}.write('x' * 9999)", seconds=5)
    assert (result.status, result.reason) == ("killed", "more than 64 KiB of output")
    assert getattr(result, stream) == "x" * MAX_OUTPUT
    assert result.seconds < 5


@isolated
def test_output_up_to_the_limit_is_whole() -> None:
    result = run(f"print('x' * {MAX_OUTPUT - 1})")
    assert (result.status, len(result.stdout)) == ("ok", MAX_OUTPUT)


@isolated
def test_file_size_bomb() -> None:
    result = run("import os\nfile = open('big', 'wb')\nos.ftruncate(file.fileno(), 1 << 40)")
    assert "File too large" in result.stderr


@isolated
def test_many_files() -> None:
    assert "Too many open files" in run("files = [open(f'{n}', 'w') for n in range(10**5)]").stderr
    assert "No space left on device" in run("for n in range(10**5): open(f'{n}', 'w').close()").stderr


@isolated
def test_the_network_is_not_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        result = run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)")
        assert "Operation not permitted" in result.stderr  # the filter; else the namespace, which has no device
        with pytest.raises(TimeoutError):
            server.accept()


@isolated
def test_a_socket_without_a_file_is_not_reached() -> None:
    name = f"\0tutelage-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        assert (
            "Operation not permitted" in run(f"import socket\nsocket.socket(socket.AF_UNIX).connect({name!r})").stderr
        )


@isolated
def test_secrets_of_files_and_environment_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish")
    monkeypatch.setenv("API_KEY", "swordfish")
    monkeypatch.chdir(tmp_path)
    code = f"""
import glob, os
for path in {str(secret)!r}, "/etc/passwd", "/etc/shadow", "/proc/1/environ", "/proc/self/environ", {__file__!r}:
    try: print(open(path).read())
    except OSError as error: print(error.strerror)
print(dict(os.environ), os.getcwd(), os.listdir())
print(glob.glob("/home/*"), glob.glob("/var/*"), glob.glob("/run/*"), glob.glob("/proc/*"), glob.glob("/etc/*"))
print(os.path.exists(os.path.expanduser("~root/.ssh")), os.path.exists({str(Path.home() / ".bashrc")!r}))
"""
    output = run(code).stdout.split("\n")
    assert output[:6] == ["No such file or directory"] * 6
    assert "swordfish" not in "".join(output)
    assert output[6].endswith("/tmp []")
    assert output[7] in ("[] [] [] [] ['/etc/ld.so.cache']", "[] [] [] [] []")
    assert output[8] == "False False"


@isolated
def test_nothing_is_written_outside_the_working_folder(tmp_path: Path) -> None:
    target = Path(tempfile.gettempdir()) / "written"
    paths = [target, tmp_path / "x", Path.home() / ".written", "/written", "/usr/x", "/program.py", "/venv/x", "/dev/x"]
    code = f"""
for path in {[str(path) for path in paths]}:
    try: open(path, "w")
    except OSError as error: print(error.strerror)
"""
    assert run(code).stdout.count("Read-only file system\n") + run(code).stdout.count("No such file") == len(paths)
    assert not target.exists()


@isolated
def test_symlinks_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish")
    code = f"""
import os
os.symlink({str(secret)!r}, "link"); os.symlink("/", "root"); os.symlink("/proc/self/root", "self")
for path in "link", "root{secret}", "self{secret}":
    try: open(path, "a").write("changed")
    except OSError as error: print(error.strerror)
"""
    assert run(code).stdout == "No such file or directory\n" * 3
    assert secret.read_text() == "swordfish"


@isolated
def test_parents_and_strangers_are_not_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        code = f"""
import os
for pid in {stranger.pid}, {os.getpid()}:
    try: os.kill(pid, 9)
    except ProcessLookupError: print("no such process")
for signal in set(range(1, 65)) - set([32, 33]): os.kill(os.getppid(), signal)
try: os.kill(-1, 9)
except ProcessLookupError: print("nobody else")
print("alive", os.getppid())
"""
        result = run(code)
        alive = stranger.poll() is None
        stranger.kill()
        assert (result.status, result.stdout) == ("ok", "no such process\n" * 2 + "nobody else\nalive 1\n")
        assert alive


@isolated
def test_sigterm_is_ignored_in_vain() -> None:
    code = (
        "import signal\nfor n in {*range(1, 65)} - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\nwhile True: pass"
    )
    assert run(code, seconds=0.3).status == "timed out"


@isolated
def test_a_daemon_does_not_outlive_the_program() -> None:
    marker = f"daemon-of-{os.getpid()}-{time.monotonic_ns()}"
    code = f"""
import os, sys, time
marker = "{marker}"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)", marker])
    os._exit(0)
os.wait(); time.sleep(0.3); print("done")
"""
    result = run(code)
    assert (result.status, sorted(result.stdout.split())) == ("ok", ["done", "up"])
    assert processes_with(marker) == []


@isolated
def test_system_calls_by_ctypes() -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    print(name, getattr(libc, name)(*arguments), os.strerror(ctypes.get_errno()))
call("ptrace", 16, 1, 0, 0)  # PTRACE_ATTACH
call("memfd_create", b"memory of no process", 0)
call("shmget", 0, 1 << 26, 0o1600)
call("socket", 40, 1, 0)  # vsock: from a virtual machine to its host
call("syscall", 425, 1, 0)  # io_uring_setup, which could open sockets
call("unshare", 0x10000000)  # a user namespace of its own, to be root in it
call("unshare", 0x20000)
call("mount", b"none", b"/tmp", b"tmpfs", 0, None)
call("umount2", b"/tmp", 2)
call("chroot", b"/tmp")
call("sethostname", b"owned", 5)
call("setuid", 0)
call("kill", 1, 9)
print(libc.prctl(39, 0, 0, 0, 0))  # PR_GET_NO_NEW_PRIVS
"""
    assert run(code).stdout.splitlines() == [
        *(f"{call} -1 Operation not permitted" for call in ("ptrace", "memfd_create", "shmget", "socket", "syscall")),
        "unshare -1 No space left on device",  # max_user_namespaces
        "unshare -1 Operation not permitted",
        "mount -1 Operation not permitted",
        "umount2 -1 Operation not permitted",
        "chroot -1 Operation not permitted",
        "sethostname -1 Operation not permitted",
        "setuid -1 Invalid argument",  # there is no such user
        "kill 0 Invalid argument",  # to process 1: dropped by the kernel
        "1",
    ]


@isolated
def test_limits_of_the_supervisor_cannot_be_used_against_it() -> None:
    code = "import resource\nresource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))\nwhile True: pass"
    assert run(code, seconds=0.3).status in ("refused", "timed out", "killed")


@isolated
def test_descriptors_of_the_parent_are_not_inherited(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("swordfish")
    with open(tmp_path / "secret") as file:
        os.set_inheritable(file.fileno(), True)
        code = """
import os
def is_open(n):
    try: return os.fstat(n) and True
    except OSError: return False
print([n for n in range(256) if is_open(n)])
"""
        assert run(code).stdout == "[0, 1, 2]\n"


@isolated
def test_leaving_early_with_forged_output_does_not_pass_the_tests() -> None:
    tests = "assert add(1, 2) == 3\nprint('passed')"
    right = run_python("def add(a, b): return a + b", tests=tests)
    assert (right.status, right.stdout) == ("ok", "passed\n")
    for code in (
        "import os; os.write(1, b'passed'); os._exit(0)",
        "exit()",
        "def add(a, b): raise SystemExit(0)",
        "print(open(__file__).read()); exit(0)",
    ):
        result = run_python(code, tests=tests)
        assert (result.status, result.reason) == ("error", "exited before the end of the tests")
    assert run_python("def add(a, b): return a - b", tests=tests).status == "error"


@isolated
@pytest.mark.parametrize(
    "code",
    [
        "import ctypes\nctypes.string_at(0)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        "import os\nos.abort()",
    ],
)
def test_crashes(code: str) -> None:
    assert run(code, seconds=0.5).status in ("killed", "error", "timed out")


@isolated
def test_a_program_dies_with_its_parent() -> None:
    """Killed without a chance to clean up, as by the kernel's out-of-memory killer."""
    marker = f"orphan-of-{os.getpid()}-{time.monotonic_ns()}"
    inner = sleeper(marker)
    outer = f"from tutelage.sandbox import run_python; run_python({inner!r}, seconds=30)"
    with subprocess.Popen([sys.executable, "-c", outer], cwd=Path(sandbox.__file__).parents[2]) as parent:
        wait_until(lambda: len(processes_with(marker)) == 2)  # the parent, whose own command line says it, and it
        parent.kill()
    wait_until(lambda: processes_with(marker) == [])


@isolated
def test_many_threads_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: run_python(f"print(int(input()) * {n})", stdin=str(n)), range(24)))
    assert [result.stdout for result in results] == [f"{n * n}\n" for n in range(24)]
