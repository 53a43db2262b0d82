"""Progress display: bars on a terminal, plain lines elsewhere, JSON lines for machines.

Everything goes to standard error, so that standard output has results only. If standard error is closed, the work
continues without a display.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

from tutelage.files import to_json

if TYPE_CHECKING:  # rich is imported with the first bar, so that a quiet command starts fast
    from rich.progress import Progress, TaskID

Mode = Literal["auto", "plain", "json", "quiet"]

# Seconds between two drawings of one bar.
INTERVALS = {"terminal": 0.1, "plain": 5.0, "json": 1.0, "quiet": float("inf")}

_mode: Mode = "auto"
_screen: Progress | None = None  # the live display of the terminal, shared by all open bars
_open_bars = 0


def set_mode(mode: Mode) -> None:
    """Sets how this process shows progress; "auto" is bars on a terminal and plain lines elsewhere."""
    global _mode
    _mode = mode


def _display() -> str:
    """How to show progress now: "terminal", "plain", "json" or "quiet"."""
    if _mode != "auto":
        return _mode
    try:
        interactive = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        return "terminal" if interactive else "plain"
    except (AttributeError, ValueError):  # no standard error at all, or a closed one
        return "quiet"


def _draw(action: Callable[[], object]) -> None:
    """Writes to standard error; if that is closed (a pipe or a terminal), switches the display off."""
    try:
        action()
    except (OSError, ValueError, AttributeError):
        set_mode("quiet")


def _write(line: str) -> None:
    _draw(lambda: print(line, file=sys.stderr, flush=True) if sys.stderr else None)


def status(message: str) -> None:
    """Shows a one-line message."""
    display = _display()
    if display == "json":
        _write(to_json({"event": "status", "message": message}, indent=None).decode())
    elif display == "terminal" and _screen:
        _print_above(message)
    elif display != "quiet":
        _write(message)


def _print_above(message: str) -> None:
    screen = _screen
    assert screen is not None
    _draw(lambda: screen.console.print(message, markup=False, highlight=False, soft_wrap=True))


class Bar:
    """The progress of a task; created by `track`."""

    def __init__(self, label: str, total: int | None, unit: str, start: int) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.start = self.done = start
        self.numbers: Mapping[str, SupportsFloat | str] = {}
        self._began = time.monotonic()
        self._display = _display()
        self._next_draw = self._began + INTERVALS[self._display]
        self._task: TaskID | None = None

    def update(self, n: int = 1, numbers: Mapping[str, SupportsFloat | str] | None = None) -> None:
        """Counts `n` more units as done; `numbers` are shown beside the bar, such as {"loss": loss}.

        Cheap enough to call every step: numbers are converted to text only when the bar is drawn, so a tensor on a GPU
        causes no synchronisation in between.
        """
        self.done += n
        if numbers is not None:
            self.numbers = numbers
        now = time.monotonic()
        if now >= self._next_draw:
            self._next_draw = now + INTERVALS[self._display]
            self._show("progress", now - self._began)

    def _show(self, event: str, seconds: float) -> None:
        if _mode == "quiet":
            return
        if self._display == "json":
            _write(to_json(self._record(event, seconds), indent=None).decode())
        elif self._display == "terminal" and event == "progress":
            self._show_on_screen(seconds)
        elif self._display == "terminal":
            _print_above(self._line(event, seconds))
        elif self._display == "plain":
            _write(self._line(event, seconds))

    def _rate(self, seconds: float) -> float:
        return (self.done - self.start) / max(seconds, 1e-9)

    def _seconds_left(self, seconds: float) -> float | None:
        if self.total is None or self.done == self.start:
            return None
        return max(self.total - self.done, 0) / self._rate(seconds)

    def _record(self, event: str, seconds: float) -> dict[str, Any]:
        return {
            "event": event,
            "label": self.label,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "seconds": round(seconds, 3),
            "per_second": round(self._rate(seconds), 3),
            "seconds_left": self._seconds_left(seconds),
            "numbers": {k: v if isinstance(v, str) else float(v) for k, v in self.numbers.items()},
        }

    def _line(self, event: str, seconds: float) -> str:
        total = f"/{self.total:,}" if self.total is not None else ""
        lead = f"{self.label}: stopped at" if event == "stopped" else f"{self.label}:"
        parts = [f"{lead} {self.done:,}{total} {self.unit}", f"{number(self._rate(seconds))} {self.unit}/s"]
        left = self._seconds_left(seconds)
        if event != "progress":
            parts.append(f"took {duration(seconds)}")
        elif left is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join([*parts, *self._shown_numbers()])

    def _shown_numbers(self) -> list[str]:
        return [f"{k} {v if isinstance(v, str) else number(float(v))}" for k, v in self.numbers.items()]

    def _show_on_screen(self, seconds: float) -> None:
        screen, left = _screen, self._seconds_left(seconds)
        assert screen is not None
        details = self._shown_numbers()
        if self.done > self.start:
            details.insert(0, f"{number(self._rate(seconds))} {self.unit}/s")
        if left is not None:
            details.append(f"{duration(left)} left")

        def draw() -> None:
            if self._task is None:
                self._task = screen.add_task(self.label, total=self.total, details="")
            screen.update(self._task, completed=self.done, details="  ".join(details))
            screen.refresh()

        _draw(draw)


@contextmanager
def track(label: str, total: int | None, unit: str, start: int = 0) -> Iterator[Bar]:
    """Shows the progress of a block.

    label: name of the task, e.g. "base".   total: how many units; None where unknown.
    unit:  plural, e.g. "steps".            start: how many a resumed run has done before.
    The last line says how many units were done, and that it stopped there if the block raised.
    """
    bar = Bar(label, total, unit, start)
    if bar._display == "terminal":
        _open_screen()
        bar._show("progress", 0.0)
    event = "stopped"
    try:
        yield bar
        event = "done"
    finally:
        bar._show(event, time.monotonic() - bar._began)
        if bar._display == "terminal":
            _close_screen(bar)


def _open_screen() -> None:
    """Starts the live display with the first bar."""
    global _screen, _open_bars
    _open_bars += 1
    if _screen is None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        # Drawn from `update`, not from a thread, which would compete with the work for the interpreter.
        # Standard output is not redirected: it may be a file.
        _screen = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[details]}", markup=False),
            console=Console(stderr=True),
            auto_refresh=False,
            redirect_stdout=False,
            transient=True,
        )
        _draw(_screen.start)


def _close_screen(bar: Bar) -> None:
    """Removes a finished bar, and the live display with the last one."""
    global _screen, _open_bars
    screen = _screen
    assert screen is not None
    if bar._task is not None:
        screen.remove_task(bar._task)
    _open_bars -= 1
    if _open_bars == 0:
        _draw(screen.stop)
        _screen = None


def number(value: float) -> str:
    """Four digits, and no powers of ten for counts: "0.001234", "74.69", "12,345"."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """A duration in words: "0.4 s", "12 s", "3 min 05 s", "2 h 07 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"
