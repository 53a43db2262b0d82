"""Latency of `tutelage serve` under open-loop load: requests arrive at random times (Poisson), whether or not earlier
ones are answered, so that queueing shows.

For each rate: time to the first token (TTFT), time per output token after it (TPOT), both at p50, p90 and p99; goodput,
the requests per second that meet both limits; tokens per second; the share of prompt tokens from the prefix cache.
Prompts and lengths of answers are those of the OpenAssistant sample, multi-turn, or of the built-in world where that
data is absent. Then the TTFT of a request whose system message of 512 tokens is new, and of one whose is known; that is
the JSON line. Without `--model`: a small random model.

    python benchmarks/serve.py --model DIR [--rates 0.5 1 2] [--seconds 60] [--ttft 2] [--tpot 0.2]
    python benchmarks/serve.py --model DIR --peer http://127.0.0.1:8080/v1 --peer-model NAME   the same load on another
    python benchmarks/serve.py --memory      process memory over 10,000 requests, a third of them cancelled

--quick: two rates of 8 seconds, or 1,000 requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from common import argument_parser, data_folder, print_result

RATES, QUICK_RATES = [0.25, 0.5, 1.0, 2.0, 4.0], [1.0, 4.0]  # requests per second
SECONDS, QUICK_SECONDS, WARM_UP = 60.0, 8.0, 0.2  # the requests of this first part are not counted
MAX_PROMPT, MAX_ANSWER = 1200, 200  # tokens
SHARED, PAIRS = 512, 10  # tokens of the shared system message; requests of either kind
REQUESTS, QUICK_REQUESTS, CLIENTS, MARKS = 10_000, 1000, 12, 5


@dataclass(frozen=True)
class Record:
    """One request: seconds from its start, the server's count of tokens, and its HTTP status."""

    status: int
    first: float = 0.0
    end: float = 0.0
    tokens: int = 0

    @property
    def per_token(self) -> float:
        """Mean seconds between two tokens; 0 for a single one."""
        return (self.end - self.first) / (self.tokens - 1) if self.tokens > 1 else 0.0


async def ask(address: str, body: dict[str, Any], cut: bool = False) -> Record:
    """Send a streamed chat request to BASE/chat/completions and read its events; `cut` leaves after the first text."""
    url = urlsplit(address)
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1 << 22)
    try:
        data = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
        head = f"POST {url.path}/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        first = end = 0.0
        tokens = 0
        while line := await reader.readline():
            if not line.startswith(b"data: {"):
                continue
            event, now = json.loads(line[6:]), time.perf_counter() - start
            if event.get("usage"):
                tokens = event["usage"]["completion_tokens"]
            for choice in event.get("choices", ()):
                # The first event has a role and no text: no token has been written by then.
                if not first and any(choice["delta"].get(name) for name in ("content", "reasoning_content")):
                    first = now
                    if cut:
                        return Record(status, first)
                end = now
        return Record(status, first or end, end, tokens)
    finally:
        writer.close()


async def open_loop(address: str, bodies: Sequence[dict[str, Any]], rate: float, seconds: float) -> list[Record]:
    """Requests at Poisson times over some seconds; returns those that began after the warm-up."""
    arrivals = np.cumsum(np.random.default_rng(0).exponential(1 / rate, int(rate * seconds * 3) + 10))
    arrivals = arrivals[arrivals < seconds]
    began = time.perf_counter()
    tasks = []
    for number, moment in enumerate(arrivals):
        await asyncio.sleep(max(0.0, began + moment - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(address, bodies[number % len(bodies)])))
    records = await asyncio.gather(*tasks)
    return [record for record, moment in zip(records, arrivals, strict=True) if moment >= WARM_UP * seconds]


def figures(records: Sequence[Record], seconds: float, ttft: float, tpot: float) -> dict[str, float]:
    """Percentiles, the interval of the median TTFT, goodput and tokens per second over a window of some seconds."""
    answered = [record for record in records if record.status == 200 and record.tokens]
    if not answered:
        return {"requests": len(records), "answered": 0, "goodput": 0.0}
    firsts = np.array([record.first for record in answered])
    gaps = np.array([record.per_token for record in answered if record.tokens > 1] or [0.0])
    draws = np.random.default_rng(0).choice(firsts, (1000, len(firsts)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    met = sum(record.first <= ttft and record.per_token <= tpot for record in answered)
    return {
        "requests": len(records),
        "answered": len(answered),
        **{f"ttft_p{p}": float(np.percentile(firsts, p)) for p in (50, 90, 99)},
        "ttft_p50_low": float(low),
        "ttft_p50_high": float(high),
        **{f"tpot_p{p}": float(np.percentile(gaps, p)) for p in (50, 90, 99)},
        "goodput": met / seconds,
        "tokens_per_second": sum(record.tokens for record in answered) / seconds,
    }


def chats() -> Iterator[list[dict[str, str]]]:
    """Conversations that end with an assistant's message."""
    path = data_folder() / "oasst_sample" / "en_100_tree.jsonl"
    if not path.exists():
        from tutelage.world import World, WorldSettings

        for row in World(WorldSettings(people=300)).conversations("train"):
            yield [{"role": message.role, "content": message.text} for message in row.messages]
        return
    roles = {"prompter": "user", "assistant": "assistant"}
    for line in path.read_text(encoding="utf-8").splitlines():
        at, messages = json.loads(line)["prompt"], []
        while True:
            messages.append({"role": roles[at["role"]], "content": at["text"]})
            if messages[-1]["role"] == "assistant":
                yield list(messages)
            if not at.get("replies"):
                break
            at = at["replies"][0]


def workload(count_tokens: Any) -> list[dict[str, Any]]:
    """Requests: all but the last message of each chat, answered with as many tokens as that has."""
    bodies = []
    for messages in chats():
        answer = max(1, min(MAX_ANSWER, count_tokens(messages[-1]["content"])))
        prompt = messages[:-1]
        if sum(count_tokens(message["content"]) for message in prompt) <= MAX_PROMPT:
            bodies.append({"messages": prompt, "max_tokens": answer, "ignore_eos": True, "seed": len(bodies)})
    random.Random(0).shuffle(bodies)
    return bodies


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[int, str]]:
    """A server in a process of its own: its id, and its address with /v1."""
    command = [sys.executable, "-m", "tutelage", "serve", str(folder), "--port", "0", "--max-queue", "4096", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://\S+", line)
            if not found:
                sys.exit(f"the server did not start: {line}{process.stderr.read()}")
            yield process.pid, f"{found[0]}/v1"
        finally:
            process.terminate()


def counters(address: str) -> dict[str, float]:
    """The counters of our server's /metrics."""
    text = urllib.request.urlopen(address.removesuffix("/v1") + "/metrics").read().decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name.partition("{")[0].removeprefix("tutelage_"): float(value) for name, value in pairs}


def sweep(address: str, bodies: Sequence[dict[str, Any]], arguments: argparse.Namespace, ours: bool) -> float:
    """Print the figures of every rate; returns the best goodput."""
    best = 0.0
    asyncio.run(ask(address, bodies[0]))
    for rate in arguments.rates:
        before = counters(address) if ours else {}
        records = asyncio.run(open_loop(address, bodies, rate, arguments.seconds))
        found = figures(records, arguments.seconds * (1 - WARM_UP), arguments.ttft, arguments.tpot)
        if ours:
            after = counters(address)
            names = ("prompt_tokens_cached_total", "prompt_tokens_total")
            cached, prompt = (after[name] - before[name] for name in names)
            found["prefix_hit_rate"] = cached / max(prompt, 1)
        print(json.dumps({"rate": rate, **{name: round(value, 4) for name, value in found.items()}}), flush=True)
        best = max(best, found["goodput"])
    return best


def shared_prefix(address: str, count_tokens: Any) -> tuple[float, float]:
    """Median TTFT in milliseconds with a known and with a new system message of 512 tokens, in turn."""

    async def one(seed: int) -> float:
        draw, text = random.Random(seed), ""
        words = "the a of and day good well born where name is was who you are".split()
        while count_tokens(text) < SHARED:
            text += " ".join(draw.choice(words) for _ in range(20)) + ". "
        messages = [{"role": "system", "content": text}, {"role": "user", "content": f"Good day {time.time()}"}]
        body = {"messages": messages, "max_tokens": 4, "ignore_eos": True, "temperature": 0}
        return (await ask(address, body)).first

    async def all_pairs() -> list[tuple[float, float]]:
        await one(0)
        return [(await one(0), await one(number)) for number in range(1, PAIRS + 1)]

    known, new = zip(*asyncio.run(all_pairs()), strict=True)
    return 1000 * float(np.median(known)), 1000 * float(np.median(new))


def memory(folder: Path, requests: int, quick: bool) -> None:
    """Resident memory of the server over many requests, every third of which is left in the middle."""

    async def client(address: str, numbers: Iterator[int], marks: list[float], pid: int) -> None:
        for number in numbers:
            message = {"role": "user", "content": f"Good day, where was Nora {number} born?"}
            await ask(address, {"messages": [message], "max_tokens": 12, "ignore_eos": True}, cut=number % 3 == 0)
            if number % (requests // MARKS) == 0:
                status = Path(f"/proc/{pid}/status").read_text()
                marks.append(int(status.partition("VmRSS:")[2].split()[0]) / 1024)
                print(f"{number:,} requests: {marks[-1]:.1f} MiB", flush=True)

    async def all_clients(address: str, pid: int) -> list[float]:
        numbers, marks = iter(range(1, requests + 1)), list[float]()
        await asyncio.gather(*(client(address, numbers, marks, pid) for _ in range(CLIENTS)))
        return marks

    # So few pages that the prefix cache is full from the first mark on.
    with serving(folder, "--pages", "400") as (pid, address):
        marks = asyncio.run(all_clients(address, pid))
        found = counters(address)
    cancelled = int(found["requests_cancelled_total"])
    print_result(
        "serve memory", marks[-1], marks[0], "MiB", quick=quick, lower_is_better=True, requests=requests,
        cancelled=cancelled,
    )  # fmt: skip


def make_model(folder: Path) -> Path:
    """A small random model that chats."""
    from tutelage.chat.render.template import TEMPLATE_TOKENS
    from tutelage.model.hub import Checkpoint, save_model
    from tutelage.model.sizes import ModelSettings, resolve
    from tutelage.model.transformer import Transformer, initialise
    from tutelage.tokenizer import END_OF_TEXT, TokenizerSettings, train

    texts = [message["content"] for messages in chats() for message in messages]
    tokenizer = train(texts, TokenizerSettings(vocab=1000), (END_OF_TEXT,)).extend(TEMPLATE_TOKENS)
    shape = ModelSettings(depth=4, width=128, heads=4, context=2048)
    save_model(folder, Checkpoint(initialise(Transformer(resolve(shape, tokenizer.vocab_size)), seed=0), tokenizer))
    return folder


def main() -> None:
    parser = argument_parser()
    parser.add_argument("--model", type=Path, help="a model that chats; default: a small random one")
    parser.add_argument("--rates", type=float, nargs="+", help="requests per second")
    parser.add_argument("--seconds", type=float, help="how long requests arrive at each rate")
    parser.add_argument("--ttft", type=float, default=2.0, help="limit of goodput: seconds to the first token")
    parser.add_argument("--tpot", type=float, default=0.2, help="limit of goodput: seconds per token after it")
    parser.add_argument("--peer", help="address of another OpenAI-compatible server, such as http://127.0.0.1:8080/v1")
    parser.add_argument("--peer-model", default="default", help="the model's name there")
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.rates = arguments.rates or (QUICK_RATES if quick else RATES)
    arguments.seconds = arguments.seconds or (QUICK_SECONDS if quick else SECONDS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model or make_model(Path(temporary) / "tiny")
        if arguments.memory:
            memory(folder, QUICK_REQUESTS if quick else REQUESTS, quick)
            return
        from tutelage.model.hub import load_chat_files

        tokenizer, _ = load_chat_files(folder)

        def count_tokens(text: str) -> int:
            return len(tokenizer.encode(text))

        bodies = workload(count_tokens)
        with serving(folder) as (_, address):
            known, new = shared_prefix(address, count_tokens)
            ours = sweep(address, bodies, arguments, ours=True)
    if arguments.peer:
        named = [{**body, "model": arguments.peer_model} for body in bodies]
        theirs = sweep(arguments.peer, named, arguments, ours=False)
        print_result("serve goodput", ours, theirs, "requests/s", quick=quick)
    print_result("serve shared prefix", known, new, "ms to the first token", quick=quick, lower_is_better=True)


if __name__ == "__main__":
    main()
