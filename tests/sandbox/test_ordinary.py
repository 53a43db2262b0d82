"""Ordinary programs in the sandbox, and solutions that a model wrote."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sandboxed import isolated, run

from tutelage.sandbox import run_python


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
