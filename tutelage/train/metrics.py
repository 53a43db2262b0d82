"""Means that stay right however a step is cut: sums and counts travel, and are divided once."""

from __future__ import annotations

from collections.abc import Mapping


class Metrics:
    """Named (sum, count) pairs that add up over micro-batches, steps and processes."""

    def __init__(self, pairs: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.pairs: dict[str, tuple[float, float]] = dict(pairs or {})

    def add(self, other: Metrics) -> None:
        for name, (total, count) in other.pairs.items():
            old_total, old_count = self.pairs.get(name, (0.0, 0.0))
            self.pairs[name] = (old_total + total, old_count + count)

    def means(self) -> Mapping[str, float]:
        """The mean of each metric that counted anything."""
        return {name: total / count for name, (total, count) in self.pairs.items() if count}
