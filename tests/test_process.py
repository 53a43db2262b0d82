from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from tutelage.process import best_device, device_type, peak_rss_bytes, untested_device

FAULTS = """
import resource, sys
import numpy as np
from tutelage.process import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def touch():
    blocks = [np.ones(1 << 20) for _ in range(8)]
for _ in range(3):
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_the_peak_covers_what_was_held() -> None:
    held = np.ones(1 << 23)  # 64 MiB
    assert held.nbytes < peak_rss_bytes() <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the dial is glibc's")
def test_freed_memory_is_taken_again_without_page_faults() -> None:
    def faults(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)

    assert faults("keep") < 100 < faults("leave")


@pytest.mark.parametrize(
    ("wanted", "cuda", "mps", "kind"),
    [
        ("", False, True, "cpu"),  # mps only where it is asked for
        ("auto", True, False, "cuda"),
        ("cpu", True, True, "cpu"),
        ("cuda", True, False, "cuda"),
        ("mps", False, True, "mps"),
    ],
)
def test_the_device_is_chosen_by_the_environment(
    wanted: str, cuda: bool, mps: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTELAGE_DEVICE", wanted)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device_type() == kind
    assert best_device() == {"cuda": "cuda:1"}.get(kind, kind)
    assert ("tested on CPUs only" in untested_device()) == (kind != "cpu")


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ("gpu", "TUTELAGE_DEVICE is 'gpu'; set it to one of auto, cpu, cuda, mps"),
        ("cuda", "finds no such device; it needs a CUDA GPU, its driver and a torch built for CUDA. Unset"),
        ("mps", "finds no such device; it needs a Mac with a GPU. Unset"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(wanted: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_DEVICE", wanted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=problem):
        best_device()
