from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tutelage.doctor.case import Case


@dataclass(frozen=True)
class Recorded:
    """A real run's own numbers, recorded by `benchmarks/doctor.py --record`, and what was planted in it."""

    what: str
    right: str
    case: Case


def read_recorded(name: str = "cases.jsonl") -> list[Recorded]:
    lines = Path(__file__).with_name(name).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Recorded, dec_hook=lambda kind, value: kind(value)) for line in lines]


@pytest.fixture(scope="session")
def recorded() -> list[Recorded]:
    return read_recorded()


@pytest.fixture(scope="session")
def recorded_policies() -> list[Recorded]:
    """Runs of reinforcement learning, recorded by `benchmarks/doctor_rl.py --record`."""
    return read_recorded("policies.jsonl")


@pytest.fixture
def healthy(recorded: list[Recorded]) -> Case:
    """A fine-tuned stage without problems."""
    return next(run.case for run in recorded if not run.right and run.case.is_fine_tuned)
