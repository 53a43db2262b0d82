"""Many short runs of two processes, for test_short_runs.py: `short_runs.py FOLDER WHOLE KILLED`.

Each run is `tutelage run` with expert parallel on a model whose routers send every token to the experts of the first
process. In the last KILLED runs one process kills itself at a random collective. Writes a JSON line a run: who was
killed, the exit status of both, whether they had to be ended, and what they said. Processes are forked, since importing
takes longer than a run; one more holds the store, as torchrun does.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint
import torch.distributed.fsdp

from tutelage.cli import main
from tutelage.model.hub import load_tensors, save_tensors
from tutelage.train import expert_parallel  # noqa: F401

SECONDS = 240  # a run that takes longer hangs
COLLECTIVES = ("all_gather", "all_gather_into_tensor", "reduce_scatter_tensor", "all_reduce", "all_to_all_single")
RECIPE = """
name      = "short"
tokenizer = { kind = "bpe", vocab = 300 }

[model]
depth   = 2
width   = 32
context = 64

[model.experts]
count = 4
used  = 1
width = 16
bias  = true

[data]
world = { kind = "world", people = 20, versions = 1 }

[stages.base]
kind  = "pretrain"
data  = { world = 1 }
steps = 3
batch_tokens = 256

[stages.more]
kind  = "pretrain"
from  = "base"
data  = { world = 1 }
steps = 3
batch_tokens = 256
micro_tokens = 128
checkpoint_seconds = 0
"""


def forked(output: Path, work: Callable[[], object]) -> int:
    """A child that does the work and ends as interpreters do; its output is in a file."""
    if pid := os.fork():
        return pid
    file = os.open(output, os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    work()
    sys.exit(0)


def hold_store(port: int) -> None:
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    threading.Event().wait()
    del store


def count_collectives(kill_at: int | None, counted: Path) -> None:
    """Count this process's collectives in a file; before the one with this number it kills itself."""
    done = 0

    def counting(collective: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal done
        done += 1
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        counted.write_text(str(done))
        return collective(*arguments, **options)

    for name in COLLECTIVES:
        setattr(dist, name, partial(counting, getattr(dist, name)))


def run(recipe: Path, out: Path, port: int, rank: int, kill_at: int | None) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(rank)}
    os.environ.update({**place, "LOCAL_RANK": str(rank), "TORCHELASTIC_USE_AGENT_STORE": "True"})
    count_collectives(kill_at, out / f"collectives.{rank}")
    main(["run", str(recipe), f"out={out}", "layout.ep=2", "--only", "more"])


def empty_last_experts(model: Path) -> None:
    """Weights whose routers choose of the first two experts of four."""
    tensors = load_tensors(model)
    routers = [name for name in tensors if name.endswith("router.bias")]
    assert len(routers) == 2, sorted(tensors)
    for name in routers:
        tensors[name] += torch.tensor([30.0, 29.9, -30.0, -30.0])
    save_tensors(model, tensors)


def wait(pids: list[int]) -> tuple[list[int], bool]:
    """The exit status of each, of a killed one minus the signal; and whether they had to be ended."""
    began, status = time.monotonic(), dict.fromkeys(pids, 0)
    left = set(pids)
    while left and time.monotonic() - began < SECONDS:
        for pid in list(left):
            done, code = os.waitpid(pid, os.WNOHANG)
            if done:
                left.discard(pid)
                status[pid] = os.waitstatus_to_exitcode(code)
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return list(status.values()), bool(left)


def one_run(folder: Path, kill_at: tuple[int | None, int | None]) -> tuple[dict[str, Any], int]:
    """A line about a run, and the collectives of its first process."""
    out, said = folder / "run", [folder / f"said.{rank}" for rank in range(2)]
    shutil.copytree(folder / "prepared", out)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began, store = time.monotonic(), forked(folder / "store", partial(hold_store, port))
    works = [partial(run, folder / "short.toml", out, port, rank, kill_at[rank]) for rank in range(2)]
    status, hung = wait([forked(path, work) for path, work in zip(said, works, strict=True)])
    os.kill(store, signal.SIGKILL)
    os.waitpid(store, 0)
    line = {"kill_at": kill_at, "status": status, "hung": hung, "seconds": time.monotonic() - began}
    line |= {"said": [path.read_text() for path in said], "finished": (out / "more" / "stage.json").exists()}
    collectives = int((out / "collectives.0").read_text())
    for path in said:
        path.unlink()
    shutil.rmtree(out)
    return line, collectives


def all_runs(folder: Path, whole: int, killed: int) -> None:
    source, most = random.Random(0), 0
    recipe = folder / "short.toml"
    recipe.write_text(RECIPE)
    prepared = ["run", str(recipe), f"out={folder / 'prepared'}", "--only", "base"]
    assert wait([forked(folder / "prepare", partial(main, prepared))]) == ([0], False)
    empty_last_experts(folder / "prepared" / "base" / "model.safetensors")
    for number in range(whole + killed):
        moment, rank = source.randint(1, max(1, most)), source.randrange(2)
        kill_at = (None, None) if number < whole else (moment, None) if rank == 0 else (None, moment)
        line, collectives = one_run(folder, kill_at)
        most = collectives if number < whole else most
        with (folder / "runs.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    all_runs(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
