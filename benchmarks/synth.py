"""Rows a second of a synthesis: ours and distilabel, with the same prompts against the same stub endpoint.

The stub answers at once, in a process of its own, so that what is measured is the overhead of each call: sending,
reading, checking, caching and writing. distilabel runs its TextGeneration step with its OpenAI client in an environment
of its own, with its cache switched off, which ours is not. Checked: both have all rows, each with the answer to its own
prompt.

`--rows 10000` shows that our memory stays flat: growth is the peak after the last row less that after a tenth of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from common import CHECKOUT, Measurement, argument_parser, measure_in_turn, print_comparison
from peers.environment import interpreter

ROWS, QUICK_ROWS = 2000, 300
PARALLEL = 16
WORDS = "harbour monk winter river stone lantern orchard market bridge garden letter window".split()


def prompt(number: int) -> str:
    """The prompt of a row."""
    return f"Tell me about object {number} of the {WORDS[number % 12]}, please."


def answer(text: str) -> str:
    """The stub's answer to a prompt: unlike all others, so that no check of duplicates drops it."""
    number = int("".join(character for character in text if character.isdigit()))
    words = " ".join(
        f"{WORDS[(number * (place + 3)) % 12]}{number * 7919 * (place + 1) % 99991}" for place in range(40)
    )
    return f"Object {number}: {words}."


class Stub(BaseHTTPRequestHandler):
    """An endpoint that answers at once and keeps connections open."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        """A chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = answer(body["messages"][-1]["content"])
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 12, "completion_tokens": 60, "total_tokens": 72}
        reply = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "stub",
            "choices": [choice],
            "usage": usage,
        }
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def serve_stub() -> None:
    """Serve on a free port, which is printed, until standard input ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


@contextmanager
def stub() -> Iterator[str]:
    """The address of a running stub."""
    command = [sys.executable, str(Path(__file__).resolve()), "--stub"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.stdin.close()


def row_count(quick: bool) -> int:
    """How many rows are made."""
    return int(os.environ.get("SYNTH_ROWS") or (QUICK_ROWS if quick else ROWS))


def check(pairs: list[tuple[str, str]], rows: int) -> None:
    """Every prompt is there once, with its own answer."""
    assert sorted(question for question, _ in pairs) == sorted(map(prompt, range(rows))), f"{len(pairs)} of {rows} rows"
    assert all(text == answer(question) for question, text in pairs), "an answer to another prompt"


def measure_ours(quick: bool) -> Measurement:
    """`teacher_swap` with the gate, the cache and all files."""
    from tutelage import progress
    from tutelage.config import convert
    from tutelage.process import peak_rss_bytes
    from tutelage.synth.recipe import SynthRecipe
    from tutelage.synth.runner import synthesise

    progress.set_mode("quiet")
    rows = row_count(quick)
    with tempfile.TemporaryDirectory() as folder, stub() as url:
        teacher = {"kind": "endpoint", "url": url, "model": "stub", "parallel": PARALLEL}
        growth = []
        for count in (max(rows // 10, 20), rows):  # the first one also compiles and imports everything
            source = Path(folder, f"{count}.jsonl")
            source.write_text("".join(json.dumps({"prompt": prompt(number)}) + "\n" for number in range(count)))
            make = {"kind": "teacher_swap", "sampling": {"temperature": 0}}
            recipe = convert({"name": "b", "make": make, "input": str(source), "teacher": teacher}, SynthRecipe)
            began, cpu = time.perf_counter(), time.process_time()
            synthesise(recipe, Path(folder, f"out{count}"))
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            growth.append(peak_rss_bytes())
        lines = Path(folder, f"out{rows}", "data.jsonl").read_text().splitlines()
        talks = [json.loads(line)["messages"] for line in lines]
    check([(talk[0]["content"], talk[1]["content"]) for talk in talks], rows)
    return {
        "value": rows / seconds,
        "cpu_ms_a_row": 1000 * cpu / rows,
        "ms_a_row": 1000 * seconds / rows,
        "growth_mib": (growth[1] - growth[0]) / 2**20,
    }


def measure_distilabel(quick: bool) -> Measurement:
    """TextGeneration with the OpenAI client."""
    rows = row_count(quick)
    python = interpreter("distilabel-1.5.3", ["distilabel[openai]==1.5.3", "requests"])
    with tempfile.TemporaryDirectory() as folder, stub() as url:
        Path(folder, "prompts.json").write_text(json.dumps([prompt(number) for number in range(rows)]))
        script = CHECKOUT / "benchmarks" / "peers" / "distilabel_rows.py"
        command = [python, str(script), url, folder, str(PARALLEL)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        if done.returncode:
            sys.exit(f"distilabel failed:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(Path(folder, "result.json").read_text())
    check([(question, text) for question, text in result["pairs"]], rows)
    return {"value": rows / result["seconds"], "ms_a_row": 1000 * result["seconds"] / rows}


def main() -> None:
    """Measure in turn and compare."""
    parser = argument_parser(rounds=5)
    parser.add_argument("--rows", type=int, help=f"rows to make (default {ROWS}, with --quick {QUICK_ROWS})")
    parser.add_argument("--ours-only", action="store_true", help="measure no peer")
    arguments = parser.parse_args()
    if arguments.rows:
        os.environ["SYNTH_ROWS"] = str(arguments.rows)
    measures = {"ours": measure_ours, "distilabel": measure_distilabel}
    if arguments.ours_only:
        del measures["distilabel"]
    measured = measure_in_turn(measures, arguments, unit="rows/s")
    for role, rounds in measured.items():
        best = min(rounds, key=lambda one: one["ms_a_row"])
        print(f"{role}: {', '.join(f'{name} {value:.2f}' for name, value in best.items() if name != 'value')}")
    if not arguments.ours_only:
        print_comparison(measured, arguments, name="synth", unit="rows/s", main_peer="distilabel")


if __name__ == "__main__":
    if "--stub" in sys.argv:
        serve_stub()
    else:
        main()
