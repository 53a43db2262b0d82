"""The live view of training in a terminal: a table of stages with their loss as a line of blocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tutelage.report.live import HEADINGS, StageNow, open_run, read_now, short_names, version
from tutelage.report.read import column, names_under

EVERY = 2.0  # seconds between two looks at the files
BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 15  # of a line of blocks
COLOURS = {"waiting": "dim", "training": "yellow", "finished": "green"}


def states(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Where each stage of these runs is, as plain values.

    Raises:
        ValueError: a folder holds no run, or a broken one.
    """
    return [
        {
            "run": str(folder),
            "stage": stage.name,
            "state": stage.state,
            "step": stage.log[-1]["step"] if stage.log else 0,
            "steps": stage.finished.info.steps if stage.finished else stage.steps or None,
            "loss": stage.last("loss"),
            "held_out": {name: stage.last(f"held_out.{name}") for name in names_under(stage.log, "held_out.")},
            "score": stage.evals[-1].score if stage.evals else None,
        }
        for folder in folders
        for stage in read_now(open_run(folder))
    ]


def follow(folders: Sequence[Path], console: Console, once: bool) -> None:
    """Print the table, and with every change again, until all stages are finished or Ctrl-C; or `once`.

    Raises:
        ValueError: a folder holds no run, or a broken one.
    """
    shown = version(folders)
    table, finished = stage_table(folders)
    if once or finished:
        console.print(table)
        return
    with Live(table, console=console, auto_refresh=False) as live:
        live.refresh()
        try:
            while not finished:
                time.sleep(EVERY)
                if (now := version(folders)) != shown:
                    shown = now
                    table, finished = stage_table(folders)
                    live.update(table, refresh=True)
        except KeyboardInterrupt:
            return


def stage_table(folders: Sequence[Path]) -> tuple[Table, bool]:
    """The table, and whether every stage is finished."""
    several = len(folders) > 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in (*(["run"] if several else []), *HEADINGS[:2]):
        table.add_column(title, no_wrap=True)
    for title in HEADINGS[2:]:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("loss so far", overflow="ellipsis")
    done = True
    for name, folder in zip(short_names(folders), folders, strict=True):
        for stage in read_now(open_run(folder)):
            done = done and stage.state == "finished"
            state = Text(stage.state, COLOURS[stage.state])
            table.add_row(*([name] if several else []), stage.name, state, *stage.cells(), _line(stage))
    return table, done


def _line(stage: StageNow) -> str:
    _, losses = column(stage.log, "loss")
    return blocks(losses[np.isfinite(losses)])


def blocks(values: np.ndarray) -> str:
    """The means of up to WIDTH stretches of a curve, each as a block between its lowest and its highest."""
    if not len(values):
        return ""
    means = np.array([part.mean() for part in np.array_split(values, min(WIDTH, len(values)))])
    low, high = means.min(), means.max()
    heights = (means - low) / (high - low) if high > low else np.zeros(len(means))
    return "".join(BLOCKS[round(height * (len(BLOCKS) - 1))] for height in heights.tolist())
