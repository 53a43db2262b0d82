"""What tests of reinforcement learning share, and a reward that their recipes name."""

from __future__ import annotations

import json
from typing import Any

from tutelage.rl.rewards import Sample
from tutelage.runner import Run


def mentions_the_cat(sample: Sample) -> float:
    """A reward that a tiny model earns now and then."""
    return float("cat" in sample.text)


def log_of(run: Run, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / kind / "train.jsonl").read_text().splitlines()]


def never(sample: Sample) -> float | None:
    """A reward that always abstains."""
    return None


def now_and_then(sample: Sample) -> float | None:
    """A reward that abstains for some answers."""
    return None if sample.tokens % 3 == 0 else float("cat" in sample.text)
