"""What a ladder has shown: scaling laws of its points, and the learning rate over its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.files import write_text
from tutelage.html import Html, code, page, section
from tutelage.scaling.analysis import Analysis, analyse
from tutelage.scaling.climb import POINTS, write_rows
from tutelage.scaling.hyperparameters import SettingLaw
from tutelage.scaling.ladder import Arm, Ladder
from tutelage.scaling.ladder_baselines import baseline_lines, baseline_plots, baseline_rows
from tutelage.scaling.lines import analysis_lines
from tutelage.scaling.page import analysis_sections
from tutelage.scaling.points import COUNTS, points_of
from tutelage.scaling.sweeps import TunedSmall, lr_law, sweep_lines, sweep_plot, tune_small, tuning_line

PAGE, UNIT = "index.html", "nats per token"


@dataclass(frozen=True, eq=False, slots=True)
class LadderResult:
    """The result of a ladder. A fit is None where `refused` says why there is none."""

    folder: Path
    points: list[dict[str, Any]]
    left: list[Arm]
    analysis: Analysis | None
    lr: SettingLaw | None
    tuned: TunedSmall | None
    baselines: list[dict[str, Any]]
    refused: dict[str, str]

    def to_plain(self) -> dict[str, Any]:
        """The result as plain data."""
        laws = self.analysis and self.analysis.to_plain()
        optima = [
            {"N": size, "lr": curve.optimum, "inside": curve.parabola.inside}
            for size, curve in (self.lr.curves.items() if self.lr else ())
        ]
        return {
            "points": self.points,
            "left": [asdict(arm) for arm in self.left],
            "laws": laws,
            "lr": self.lr and {"exponent_of_N": self.lr.exponent, "optima": optima},
            "tuned_by_smaller_sizes": self.tuned and asdict(self.tuned),
            "baselines": self.baselines,
            "refused": self.refused,
        }


def ladder_result(ladder: Ladder, folder: Path, left: Sequence[Arm]) -> LadderResult:
    """Fit the finished trainings of a ladder, and write its page."""
    rows, sweeps = write_rows(ladder, folder)
    refused, analysis, lr, tuned = dict[str, str](), None, None, None
    try:
        analysis = analyse(points_of(rows, "the ladder", "matrices", UNIT))
    except ValueError as error:
        refused["laws"] = str(error)
    if ladder.sweep is not None:
        try:
            lr = lr_law(sweeps)
        except ValueError as error:
            refused["lr"] = str(error)
        try:
            tuned = tune_small(sweeps)
        except ValueError as error:
            refused["tuning by smaller sizes"] = str(error)
    baselines = baseline_rows(ladder, folder)
    result = LadderResult(folder, rows, list(left), analysis, lr, tuned, baselines, refused)
    write_text(folder / PAGE, ladder_page(result, ladder.name))
    return result


def ladder_page(result: LadderResult, title: str) -> str:
    """The page of a ladder: laws of its points, sweeps of the learning rate, baselines."""
    parts: list[Html] = []
    if result.analysis is not None:
        parts += analysis_sections(result.analysis)
    if result.lr is not None:
        note = "Dashed: the parabola through the rates near the best one of each size."
        text = code("\n".join(_rate_lines(result.lr, result.tuned)))
        parts.append(section("Learning rate", text, sweep_plot(result.lr, UNIT), note=note))
    if result.baselines:
        note = "An LSTM has as many parameters as its transformer and reads the same batches; n-grams, as many tokens."
        text = code("\n".join(baseline_lines(result.baselines)))
        parts.append(section("Baselines", text, *baseline_plots(result.baselines), note=note))
    if result.refused or result.left:
        parts.append(section("Not yet", code("\n".join(_missing_lines(result)))))
    lead = f"{len(result.points)} trainings. N counts {COUNTS['matrices']}."
    return page(f"Scaling law: {title}", parts, lead)


def ladder_lines(result: LadderResult) -> Iterator[str]:
    """The result as lines of text."""
    if result.analysis is not None:
        yield from analysis_lines(result.analysis)
    if result.lr is not None:
        yield from _rate_lines(result.lr, result.tuned)
    yield from baseline_lines(result.baselines)
    yield from _missing_lines(result)
    yield f"points: {result.folder / POINTS}"
    yield f"page: {result.folder / PAGE}"


def _rate_lines(lr: SettingLaw, tuned: TunedSmall | None) -> Iterator[str]:
    yield from sweep_lines(lr)
    if tuned is not None:
        yield tuning_line(tuned)


def _missing_lines(result: LadderResult) -> Iterator[str]:
    """What is not fitted or trained yet."""
    for name, reason in result.refused.items():
        yield f"{name}: not fitted: {reason}"
    if result.left:
        yield f"{len(result.left)} trainings are left; run the same command again"
