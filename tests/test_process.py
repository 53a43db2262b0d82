from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np
import pytest

from tutelage.process import peak_rss_bytes

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
