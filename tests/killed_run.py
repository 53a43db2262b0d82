"""`tutelage run` in a process that kills itself at a chosen moment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tutelage

# Runs `tutelage run` and sends itself a signal just before the n-th time that a file of the run whose path holds `part`
# is opened, renamed or removed. What happens between two such moments changes no file that is read again.
DRIVER = """
import os, signal, sys
import torch
from tutelage.cli import main
from tutelage.train import hooks

torch.set_num_threads(1)
hooks.LOG_SECONDS = float("inf")  # the log is written with each checkpoint alone, however slow the machine is
recipe, out, part, number, moment = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
moments = 0

def before(event, arguments):
    global moments, moment
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
        path = str(arguments[0])
        moments += path.startswith(out) and part in path
        if moments == moment:
            moment = 0
            os.kill(os.getpid(), number)

sys.addaudithook(before)
sys.argv = ["tutelage", "run", recipe, "out=" + out, *sys.argv[6:]]
try:
    main()
finally:
    print(moments)
"""


def run(
    recipe: Path, out: Path, number: int = 0, moment: int = -1, part: str = "", overrides: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DRIVER, str(recipe), str(out), part, str(number), str(moment), *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    checkout = Path(tutelage.__file__).parents[1]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=checkout)
