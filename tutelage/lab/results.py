"""The stored result of a replicated finding: one JSON file, from which the page and the plots are made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tutelage.files import read_json, write_json
from tutelage.lab.finding import Plot, Table
from tutelage.lab.verdict import Effect, Needed, Verdict


class StageSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The training of a stage behind a result. `lr` is the peak learning rate."""

    folder: str
    name: str
    lr: float
    steps: int
    tokens: int
    trained_tokens: float
    parameters: int
    seconds: float


class FindingResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finding, its conclusion and its provenance.

    Args:
        model: the name of the checkpoint that it is measured on; "" for models that the lab trains.
        quick: whether it was shrunk to seconds, so that its numbers say nothing about the claim.
        recipe: the recipe in TOML.
        settings: all resolved settings of the runs, by folder of the cache.
        stages: the stages behind the estimates; `reused_stages` of them were finished already.
        primary, control, needed: what `verdict.decide` makes the verdict and its reason of.
        seconds: duration of the command; on a checkpoint, its processor time.
    """

    number: str
    name: str
    claim: str
    source: str
    published: str
    setup: str
    quick: bool
    recipe: str
    settings: dict[str, Any]
    stages: list[StageSummary]
    table: Table
    plots: Sequence[Plot]
    primary: Sequence[Effect]
    control: Effect
    needed: Needed
    verdict: Verdict
    reason: str
    command: str
    seconds: float
    reused_stages: int
    version: str
    environment: dict[str, str | int]
    model: str = ""

    @property
    def stem(self) -> str:
        """The common start of its file names."""
        return file_stem(self.number, f"{self.name}{'-model' if self.model else ''}")

    @property
    def title(self) -> str:
        """Its number and name, as a heading, and the checkpoint."""
        title = f"{self.number}. {self.name.replace('-', ' ').capitalize()}"
        return f"{title}, on {self.model}" if self.model else title


def file_stem(number: str, name: str) -> str:
    """The common start of a finding's file names: "01-mask", "N08-style-locking"."""
    letter = "N" if number.startswith("N") else ""
    return f"{letter}{int(number.removeprefix('N')):02d}-{name}"


def order(number: str) -> tuple[bool, int]:
    """A key to sort numbers by: "1", "2" ..., then "N1", "N2" ..."""
    return number.startswith("N"), int(number.removeprefix("N"))


def write_result(folder: Path, result: FindingResult) -> Path:
    """Write a result to its JSON file in a folder."""
    path = folder / f"{result.stem}.json"
    write_json(path, result)
    return path


def read_result(path: Path) -> FindingResult:
    """A result from its JSON file.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        return msgspec.convert(read_json(path), FindingResult)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path} is not a lab result ({error}); remove it and run the finding again") from None


def read_results(folder: Path) -> list[FindingResult]:
    """All results of a folder, by number, those on checkpoints last; none if the folder does not exist."""
    results = map(read_result, folder.glob("*[0-9][0-9]-*.json"))
    return sorted(results, key=lambda result: (order(result.number), result.model))


def trained_results(folder: Path) -> dict[str, FindingResult]:
    """The results with models that the lab trains, by number."""
    return {result.number: result for result in read_results(folder) if not result.model}
