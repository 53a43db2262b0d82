"""This process: stop requests, rank, memory and hardware."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from tutelage.progress import status

DEVICE, DEVICES = "TUTELAGE_DEVICE", ("auto", "cpu", "cuda", "mps")
PROBE_SECONDS = 0.4  # for each dtype
# Parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


class Stopped(Exception):
    """The run was interrupted and has saved its state."""


def rank_and_world_size() -> tuple[int, int]:
    """Rank and world size as `torchrun` sets them; (0, 1) without torchrun."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """In the block, Ctrl-C and SIGTERM take effect after the current step; a second Ctrl-C ends at once.

    Yields a function that says whether a stop was requested.
    """
    requests: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        if requests and number == signal.SIGINT:
            raise KeyboardInterrupt
        requests.append(number)
        status("stopping after this step; press Ctrl-C again to stop at once")

    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda: False
        return
    before = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(requests)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@cache
def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next step instead of returning it to the system.

    Each training step frees and allocates the same tensors. The system clears returned memory page by page, which took
    a tenth of a small model's step. Peak memory is the same. Only glibc has this setting.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def release_freed_memory() -> None:
    """Return freed memory to the system, where `keep_freed_memory` kept it. Only glibc does so."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def peak_rss_bytes() -> int:
    """The peak memory of this process, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kibibytes


def rss_bytes() -> int:
    """The memory of this process now, in bytes; its peak where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_rss_bytes()
    return pages * resource.getpagesize()


def device_type() -> Literal["cpu", "cuda", "mps"]:
    """The kind of device for models, from the environment variable DEVICE; "auto" is a CUDA GPU if there is one, else
    the CPU.

    Raises:
        ValueError: the variable has another value, or torch has no such device here.
    """
    import torch

    wanted = os.environ.get(DEVICE) or "auto"
    if wanted not in DEVICES:
        raise ValueError(f"{DEVICE} is '{wanted}'; set it to one of {', '.join(DEVICES)}")
    cuda = torch.cuda.is_available()
    if wanted == "cpu" or (wanted == "auto" and not cuda):
        return "cpu"
    if wanted != "mps" and cuda:
        return "cuda"
    if wanted == "mps" and torch.backends.mps.is_available():
        return "mps"
    what = "a Mac with a GPU" if wanted == "mps" else "a CUDA GPU, its driver and a torch built for CUDA"
    raise ValueError(
        f"{DEVICE} is '{wanted}', but torch {torch.__version__} finds no such device; it needs {what}. Unset {DEVICE} "
        "to use the best device there is"
    )


def best_device() -> str:
    """The device for models, of `device_type`; of several GPUs the one of this process. Raises as `device_type`."""
    kind = device_type()
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if kind == "cuda" else kind


def untested_device() -> str:
    """A sentence where no test of this version has run on the device for models; else "". Raises as `device_type`."""
    kind = device_type()
    if kind == "cpu":
        return ""
    return f"training on {kind}: this version is tested on CPUs only; if results look wrong, compare with {DEVICE}=cpu"


@cache
def faster_precision() -> Literal["float32", "bfloat16"]:
    """bfloat16 where it halves the time of matrix products, by a probe of a second at most; else float32."""
    import torch

    if device_type() == "cuda":
        return "bfloat16"
    times: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, weight = torch.randn(1024, 576, dtype=dtype), torch.randn(1536, 576, dtype=dtype)
        began = time.perf_counter()
        rounds: list[float] = []
        while len(rounds) < 3 or (len(rounds) < 20 and time.perf_counter() - began < PROBE_SECONDS):
            start = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            rounds.append(time.perf_counter() - start)
        times[dtype] = min(rounds)
    return "bfloat16" if 2 * times[torch.bfloat16] < times[torch.float32] else "float32"


def environment() -> dict[str, Any]:
    """Hardware and versions of this process, for the report."""
    import torch

    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(errors="replace").splitlines() if cpu_info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "platform": platform.platform(),
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "processes": rank_and_world_size()[1],
        "device": torch.cuda.get_device_name() if device_type() == "cuda" else device_type(),
    }
