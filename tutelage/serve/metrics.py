"""Counters and histograms in Prometheus' text format."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping

PREFIX = "tutelage_"
# Name -> what it counts.
COUNTERS: Mapping[str, str] = {
    "requests_finished_total": "Answers that ended by themselves.",
    "requests_cancelled_total": "Answers that were cancelled, most of them because the client disconnected.",
    "requests_refused_total": "Requests refused because the queue was full.",
    "prompt_tokens_total": "Prompt tokens of finished answers.",
    "prompt_tokens_cached_total": "Prompt tokens of finished answers that came from the prefix cache.",
    "generated_tokens_total": "Tokens generated.",
}
HISTOGRAMS: Mapping[str, str] = {
    "time_to_first_token_seconds": "From the arrival of a request to its first token.",
    "time_per_output_token_seconds": "Mean time between two tokens of an answer.",
    "request_seconds": "From the arrival of a request to the end of an answer.",
}
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
GAUGES: Mapping[str, str] = {
    "requests_running": "Answers that the engine works on.",
    "requests_waiting": "Answers that wait for the engine.",
    "pages_free": "Free pages of the key-value cache.",
    "pages_cached": "Pages that only the prefix index holds.",
    "pages_total": "Pages of the key-value cache.",
    "drafted_tokens": "Tokens that speculation has guessed since the start.",
    "accepted_tokens": "Guessed tokens that the model would have written.",
}


class Metrics:
    """The figures of one model; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.histograms = {name: [0] * (len(BUCKETS) + 1) for name in HISTOGRAMS}
        self.sums = dict.fromkeys(HISTOGRAMS, 0.0)

    def add(self, name: str, amount: int = 1) -> None:
        """Count."""
        with self._lock:
            self.counters[name] += amount

    def observe(self, name: str, value: float) -> None:
        """Put a value into a histogram."""
        with self._lock:
            self.histograms[name][bisect_left(BUCKETS, value)] += 1
            self.sums[name] += value


def prometheus_text(models: Mapping[str, tuple[Metrics, Mapping[str, float]]]) -> str:
    """The metrics and gauges of every model, by its name."""
    lines: list[str] = []
    for kind, table in (("counter", COUNTERS), ("histogram", HISTOGRAMS), ("gauge", GAUGES)):
        for name, text in table.items():
            lines += [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} {kind}"]
            for model, (metrics, gauges) in models.items():
                label = f'model="{_escaped(model)}"'
                if kind == "histogram":
                    lines += _histogram(name, label, metrics)
                else:
                    value = metrics.counters[name] if kind == "counter" else gauges[name]
                    lines.append(f"{PREFIX}{name}{{{label}}} {value}")
    return "\n".join(lines) + "\n"


def _histogram(name: str, label: str, metrics: Metrics) -> list[str]:
    counts, total, lines = metrics.histograms[name], 0, []
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
        total += count
        lines.append(f'{PREFIX}{name}_bucket{{{label},le="{bound}"}} {total}')
    return [*lines, f"{PREFIX}{name}_sum{{{label}}} {metrics.sums[name]}", f"{PREFIX}{name}_count{{{label}}} {total}"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
