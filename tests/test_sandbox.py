"""Hostile programs, each with its own test, in the sandbox; then what an unsafe sandbox still keeps."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tutelage import sandbox
from tutelage.sandbox import MAX_OUTPUT, SandboxResult, check_available, run_python

isolated = pytest.mark.skipif(bool(check_available()), reason=check_available() or "available")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test: no file in the temporary folder, no child, no open descriptor more than before."""
    folder = tmp_path_factory.mktemp("sandbox")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = children(), descriptors()
    yield
    assert list(folder.iterdir()) == []
    assert (children(), descriptors()) == before


def children() -> set[str]:
    """The child processes of this process, ended ones that nobody waited for included."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").glob("*")))


def processes_with(marker: str) -> list[str]:
    """The processes of this machine with the marker in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [path.parent.name] if marker in path.read_text() else []
    return found


def sleeper(marker: str) -> str:
    """A program that sleeps with the marker in its command line."""
    return f"import os, sys; os.execv(sys.executable, ['python', '-c', 'import time; time.sleep(60)', '{marker}'])"


def run(code: str, **options: float) -> SandboxResult:
    return run_python(code, seconds=options.get("seconds", 1), memory_mib=int(options.get("memory_mib", 128)))


# What an ordinary program sees


@isolated
def test_an_ordinary_program() -> None:
    result = run_python("import sys\nprint(input(), 'ü', file=sys.stderr)\nprint(6 * 7)", stdin="in\n")
    assert (result.status, result.stdout, result.stderr, result.reason) == ("ok", "42\n", "in ü\n", "")
    assert 0 < result.seconds < 10


@isolated
@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("1 / 0", "error", "exit status 1"),
        ("exit(3)", "error", "exit status 3"),
        ("def f(:", "error", "exit status 1"),
        ("import os; os.kill(os.getpid(), 9)", "killed", "signal 9"),
        ("import os; os.kill(os.getpid(), 15)", "killed", "signal 15"),
        ("", "ok", ""),
    ],
)
def test_how_a_program_ends(code: str, status: str, reason: str) -> None:
    result = run(code)
    assert (result.status, result.reason) == (status, reason)


@isolated
def test_a_traceback_shows_the_line_of_the_program() -> None:
    assert 'File "/program.py", line 2, in <module>\n    1 / 0\n' in run("x = 1\n1 / 0").stderr


@isolated
def test_threads_processes_and_files_in_the_working_folder_are_usable() -> None:
    code = """
import multiprocessing, pathlib, subprocess, sys, threading
threading.Thread(target=print, args=("thread",)).start()
queue = multiprocessing.Queue()
process = multiprocessing.Process(target=queue.put, args=("process",))
process.start(); print(queue.get()); process.join()
pathlib.Path("file").write_text("file"); print(pathlib.Path("file").read_text())
print(subprocess.run([sys.executable, "-c", "print('program')"], capture_output=True, text=True).stdout)
"""
    assert set(run(code).stdout.split()) == {"thread", "process", "file", "program"}


@isolated
def test_bytes_that_are_no_text_are_replaced_and_odd_code_is_run() -> None:
    assert run("import sys; sys.stdout.buffer.write(b'\\xff\\xfe!')").stdout == "\ufffd\ufffd!"
    assert run("print('a')\r\nprint('\ud800')").status == "ok"
    assert run("print(1)\0").status in ("ok", "error")  # as that Python decides


@isolated
def test_installed_packages_environment_and_hash_seed_are_the_same_everywhere() -> None:
    code = "import os, sys; print(sorted(os.environ), hash('a'), [p for p in sys.path if 'site-packages' in p])"
    first, second = run(code), run(code)
    assert first.stdout == second.stdout
    assert "PYTHONPATH" not in first.stdout
    assert first.stdout.endswith("[]\n")
    assert run("import numpy").status == "error"


# Hostile programs


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


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@isolated
def test_many_threads_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: run_python(f"print(int(input()) * {n})", stdin=str(n)), range(24)))
    assert [result.stdout for result in results] == [f"{n * n}\n" for n in range(24)]


# Without namespaces


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


# Real solutions


@isolated
@pytest.mark.slow
@pytest.mark.parametrize(("name", "passing"), [("gpt4_simple", 324), ("gpt4_reflexion", 311)])
def test_solutions_of_mbpp(data: Callable[[str], Path], name: str, passing: int) -> None:
    """397 programs that GPT-4 wrote (Reflexion, arXiv 2303.11366), with their tests, on two threads."""
    with gzip.open(data(f"mbpp_gpt4/{name}.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    threads = threading.active_count()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda row: run_python(row["solution"], tests=row["test"], seconds=4), rows))
    print(name, Counter(result.status for result in results), sum(r.seconds for r in results) / len(results))
    assert sum(result.status == "ok" for result in results) == passing
    assert threading.active_count() <= threads
