"""What is kept of a finding that was tried: one JSON file, of which the page and the pictures are made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tutelage.files import read_json, write_json
from tutelage.lab.finding import Plot, Table, Verdict


class StageFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stage behind a result trained on, and how long. `lr` is the peak rate."""

    folder: str
    name: str
    lr: float
    steps: int
    tokens: int
    trained_tokens: float
    parameters: int
    seconds: float


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finding, what it came to, and what made it.

    quick:    whether it was shrunk to seconds, so that its figures say nothing of the claim.
    recipe:   the recipe in TOML; settings: all settled settings of what was run, by folder of the cache.
    stages:   the stages behind the figures, of which `reused` were finished before and not trained again.
    seconds:  how long the command took.
    """

    number: int
    name: str
    claim: str
    source: str
    published: str
    setup: str
    quick: bool
    recipe: str
    settings: dict[str, Any]
    stages: list[StageFacts]
    table: Table
    plots: Sequence[Plot]
    verdict: Verdict
    why: str
    command: str
    seconds: float
    reused: int
    version: str
    environment: dict[str, str | int]

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return file_stem(self.number, self.name)

    @property
    def title(self) -> str:
        """Its number and name as a heading."""
        return f"{self.number}. {self.name.replace('-', ' ').capitalize()}"


def file_stem(number: int, name: str) -> str:
    """What the names of a finding's files begin with."""
    return f"{number:02d}-{name}"


def write_record(folder: Path, record: Record) -> Path:
    """Write a record to its JSON file in a folder."""
    path = folder / f"{record.stem}.json"
    write_json(path, record)
    return path


def read_record(path: Path) -> Record:
    """A record from its JSON file; ValueError where the file holds something else."""
    try:
        return msgspec.convert(read_json(path), Record)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path} is no result of the lab ({error}); remove it and try the finding again") from None


def read_records(folder: Path) -> list[Record]:
    """All records of a folder, by number; none where there is no such folder."""
    return sorted(map(read_record, folder.glob("[0-9][0-9]-*.json")), key=lambda record: record.number)
