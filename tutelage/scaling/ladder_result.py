"""What a ladder has shown: scaling laws of its points, and the learning rate over its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.files import write_text
from tutelage.scaling.analysis import Analysis, analyse
from tutelage.scaling.hyperparameters import SettingLaw
from tutelage.scaling.ladder import POINTS, Arm, Ladder, write_rows
from tutelage.scaling.lines import analysis_lines
from tutelage.scaling.page import scaling_page
from tutelage.scaling.points import points_of
from tutelage.scaling.sweeps import lr_law, sweep_lines

PAGE = "index.html"


@dataclass(frozen=True, eq=False, slots=True)
class LadderResult:
    """The result of a ladder. A fit is None where `refused` says why there is none."""

    folder: Path
    points: list[dict[str, Any]]
    left: list[Arm]
    analysis: Analysis | None
    lr: SettingLaw | None
    refused: dict[str, str]

    def to_plain(self) -> dict[str, Any]:
        """The result as plain data."""
        lr = self.lr and {"exponent_of_N": self.lr.exponent, "optima": self.lr.optima}
        laws = self.analysis and self.analysis.to_plain()
        left = [asdict(arm) for arm in self.left]
        return {"points": self.points, "left": left, "laws": laws, "lr": lr, "refused": self.refused}


def ladder_result(ladder: Ladder, folder: Path, left: Sequence[Arm]) -> LadderResult:
    """Fit the finished trainings of a ladder, and write its page where there is a fit."""
    rows, sweeps = write_rows(ladder, folder)
    refused, analysis, lr = dict[str, str](), None, None
    try:
        analysis = analyse(points_of(rows, "the ladder", "matrices", "nats per token"))
        write_text(folder / PAGE, scaling_page(analysis, title=ladder.name))
    except ValueError as error:
        refused["laws"] = str(error)
    if ladder.sweep is not None:
        try:
            lr = lr_law(sweeps)
        except ValueError as error:
            refused["lr"] = str(error)
    return LadderResult(folder, rows, list(left), analysis, lr, refused)


def ladder_lines(result: LadderResult) -> Iterator[str]:
    """The result as lines of text."""
    if result.analysis is not None:
        yield from analysis_lines(result.analysis)
    if result.lr is not None:
        yield from sweep_lines(result.lr)
    for name, reason in result.refused.items():
        yield f"{name}: not fitted: {reason}"
    if result.left:
        yield f"{len(result.left)} trainings are left; run the same command again"
    yield f"points: {result.folder / POINTS}"
    if result.analysis is not None:
        yield f"page: {result.folder / PAGE}"
