"""True utility beside the proxy: what answers are worth, how a reward model changes that as it picks from more answers,
how training changed it step by step, where to stop, and whether scores are calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tutelage.html import (
    Html,
    Interval,
    Series,
    badge,
    details,
    heading,
    interval_plot,
    join,
    line_plot,
    paragraph,
    section,
    table,
)
from tutelage.report.evaluation import with_small
from tutelage.report.read import Finished, MeanInterval, StoredResults
from tutelage.rl.hacking import CurveKind, Fit

SETS = {
    "trained": "people of the preferences",
    "held_out": "other people",
    "rule_changed": "under another rule",
}
PARTS = ("truth", "completeness", "brevity", "politeness", "words", "polite_phrases", "ended")
CURVES = {
    "best_of_n": "The best of n answers by the reward model",
    "hacking": "Along the kept steps of training",
}
FORMULAS: Mapping[CurveKind, str] = {"best_of_n": "d (α − β d)", "rl": "d (α − β log d)"}
LONGEST = 280  # characters of an answer that are shown
FINE = 80  # points of a fitted curve


class Point(msgspec.Struct, frozen=True):
    """A policy on a curve: its distance from the start, and its proxy and gold reward with their gains."""

    name: str
    kl: float
    d: float
    gain: dict[str, MeanInterval]
    proxy: float
    gold: float


class FitFigures(msgspec.Struct, frozen=True):
    """A fitted curve; see rl.hacking.Fit."""

    kind: CurveKind
    alpha: float
    beta: float
    r_squared: float
    peak_d: float | None = None
    peak: float | None = None


class VerdictFigures(msgspec.Struct, frozen=True):
    """Where to stop; see rl.hacking.Verdict."""

    best: int
    gold_fell: bool
    overoptimised: bool
    sentence: str


class LengthFigures(msgspec.Struct, frozen=True):
    """Reward against length; see rl.hacking.length_figures."""

    slope: MeanInterval | None = None
    correlation: float | None = None


class CurveFigures(msgspec.Struct, frozen=True):
    """The figures of the suites "best_of_n" and "hacking"."""

    kind: CurveKind
    points: list[Point]
    fit: dict[str, FitFigures | None]
    verdict: VerdictFigures
    length: dict[str, LengthFigures]


class CalibrationBin(msgspec.Struct, frozen=True):
    """How sure a reward model is of some pairs, how often it is right, and how many pairs there are."""

    sure: float
    right: float
    count: float


def rewards(stages: Sequence[Finished]) -> Html | None:
    """The section; None where no stage was evaluated on utility and none is a reward model."""
    parts = [*_utility(stages)]
    for stage in stages:
        for suite, title in CURVES.items():
            if results := stage.rewards.get(suite):
                parts += _curve(f"{title}: {stage.name}", results)
        parts += _calibration(stage)
    note = (
        "Gold is the true utility, which the built-in world knows; the proxy is what was optimised. An audit of what "
        "happened, and no early warning."
    )
    return section("True utility and proxy", *parts, note=note) if parts else None


def _utility(stages: Sequence[Finished]) -> list[Html]:
    """The mean true utility and proxy of each stage's answers, by set of prompts."""
    bars: list[Interval] = []
    rows: list[list[str | Html]] = []
    measured = {stage.name: stage.rewards["utility"].figures for stage in stages if "utility" in stage.rewards}
    for name, label in SETS.items():
        for kind, kind_label in (("true", "true utility"), ("proxy", "proxy")):
            for stage, figures in measured.items():
                of = _mean(figures[name][kind])
                bars.append(Interval(f"{kind_label}, {label}", of.mean, _low(of), _high(of), stage))
        for stage, figures in measured.items():
            of_set = figures[name]
            gain = of_set.get("gain")
            change = _cell(_mean(gain["true"])) if gain else ""
            cells = [f"{_mean(of_set[part]).mean:.2f}" for part in PARTS]
            rows.append([label, stage, _cell(_mean(of_set["true"])), change, _cell(_mean(of_set["proxy"])), *cells])
    if not bars:
        return []
    headings = ["", "stage", "true utility", "change", "proxy", *(part.replace("_", " ") for part in PARTS)]
    return [
        heading("What answers are worth"),
        paragraph(
            "Answers are sampled at temperature 1. The change is from the model it was trained from.", muted=True
        ),
        interval_plot(bars, x_label="utility", percent=False),
        details("As a table, with the parts of the utility", table(headings, rows, numeric=range(2, len(headings)))),
    ]


def _mean(value: Any) -> MeanInterval:
    return msgspec.convert(value, MeanInterval)


def _low(of: MeanInterval) -> float:
    return of.mean if of.low is None else of.low


def _high(of: MeanInterval) -> float:
    return of.mean if of.high is None else of.high


def _cell(of: MeanInterval) -> Html:
    return with_small(_signed(of.mean), f"{_signed(_low(of))} to {_signed(_high(of))}")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _curve(title: str, results: StoredResults) -> list[Html]:
    """Gold and proxy against sqrt(KL) with the fitted curves, the verdict, length, and the suspicious samples."""
    curve = msgspec.convert(results.figures, CurveFigures)
    points = sorted(curve.points, key=lambda point: point.d)
    d = np.array([point.d for point in points])
    series: list[Series] = []
    for name in ("gold", "proxy"):
        gains = [point.gain[name] for point in points]
        bounds = [_low(of) for of in gains], [_high(of) for of in gains]
        series.append(Series(name, d, [of.mean for of in gains], *bounds))
    fine = np.linspace(0, d.max(), FINE)
    for name, fit in curve.fit.items():
        if fit is not None:
            fitted = Fit(fit.kind, fit.alpha, fit.beta, fit.peak_d, fit.peak, fit.r_squared)
            series.append(Series(f"{name}, fitted", fine, fitted(fine), dashed=True))
    if curve.verdict.overoptimised:
        mark = badge("overoptimised", "bad")
    elif curve.verdict.gold_fell:
        mark = badge("worse at the end", "bad")
    else:
        mark = badge("not shown to be overoptimised", "good")
    return [
        heading(title),
        paragraph(join([mark, f" {curve.verdict.sentence[:1].upper()}{curve.verdict.sentence[1:]}."])),
        line_plot(series, x_label="d = √KL from the start, nats", y_label="gain of reward"),
        paragraph(_fit_sentence(curve), muted=True),
        details("Every point", _points_table(curve.points)),
        paragraph(_length_sentence(curve.length)),
        details("Answers that the proxy likes and gold does not", _samples_table(results.samples)),
    ]


def _fit_sentence(curve: CurveFigures) -> str:
    """The fitted formula (Gao et al. 2022) and where it peaks."""
    gold = curve.fit.get("gold")
    if gold is None:
        return "Too few points to fit a curve."
    fitted = f"Gold as {FORMULAS[curve.kind]} (Gao et al. 2022): α = {gold.alpha:.3f}, β = {gold.beta:.3f}, "
    measured = max(point.d for point in curve.points)
    if gold.peak_d is None or gold.peak is None:
        peak = "no peak"
    elif gold.peak_d > measured:
        peak = f"no peak up to d = {measured:.2f}, the last point"
    else:
        peak = f"peak {_signed(gold.peak)} at d = {gold.peak_d:.2f}"
    return f"{fitted}R² = {gold.r_squared:.2f}; {peak}."


def _points_table(points: Sequence[Point]) -> Html:
    rows: list[list[str | Html]] = [
        [point.name, f"{point.kl:.2f}", f"{point.d:.2f}", f"{point.proxy:.2f}", *map(_cell, _gains(point))]
        for point in points
    ]
    return table(["", "KL", "√KL", "proxy", "gain of proxy", "gain of gold"], rows, numeric=range(1, 6))


def _gains(point: Point) -> tuple[MeanInterval, MeanInterval]:
    return point.gain["proxy"], point.gain["gold"]


def _length_sentence(lengths: Mapping[str, LengthFigures]) -> str:
    parts = []
    for name, of in lengths.items():
        if of.slope is not None:
            interval = f"{_signed(_low(of.slope))} to {_signed(_high(of.slope))}"
            parts.append(f"{name} changes by {_signed(of.slope.mean)} ({interval}) for 10 words more")
    return f"Length, among answers to one prompt: {'; '.join(parts)}." if parts else "All answers are equally long."


def _samples_table(samples: Sequence[Mapping[str, Any]]) -> Html:
    """The samples, by z-score of the proxy minus z-score of gold."""
    rows: list[list[str | Html]] = [
        [
            *(_signed(row[name]) for name in ("gap", "proxy", "gold")),
            *([row["at"]] if row["at"] else []),
            with_small(row["answer"][:LONGEST] or "(empty)", row["question"]),
        ]
        for row in samples
    ]
    at = ["at"] if samples and samples[0]["at"] else []
    return table(["z(proxy) − z(gold)", "proxy", "gold", *at, "answer"], rows, numeric=range(3))


def _calibration(stage: Finished) -> list[Html]:
    """How often a reward model is right against how sure it is; nothing for other stages."""
    results = stage.rewards.get("preferences")
    if results is None or "calibration" not in results.figures:
        return []
    bins = list(msgspec.convert(results.figures["calibration"], dict[str, CalibrationBin]).values())
    sure, right = [of.sure for of in bins], [of.right for of in bins]
    error = [1.96 * (of.right * (1 - of.right) / of.count) ** 0.5 for of in bins]
    low, high = zip(*((value - half, value + half) for value, half in zip(right, error, strict=True)), strict=True)
    measured = Series("measured", sure, right, [max(0.0, end) for end in low], [min(1.0, end) for end in high])
    known = {name: stage.preferences.get(name) for name in ("ceiling", "true_utility_accuracy", "share_of_ceiling")}
    accuracy = stage.rates["preferences.accuracy"].rate
    text = f"It ranks {accuracy:.1%} of the held-out pairs right."
    if (ceiling := known["ceiling"]) and (true := known["true_utility_accuracy"]) and (of := known["share_of_ceiling"]):
        text = (
            f"{text[:-1]}: {of.mean:.1%} of the noise ceiling, {ceiling.mean:.1%}, which the labeller's own utility "
            f"reaches on its noisy labels. The true utility would reach {true.mean:.1%}."
        )
    return [
        heading(f"Accuracy and calibration: {stage.name}"),
        paragraph(text),
        line_plot(
            [measured, Series("calibrated", [0.5, 1], [0.5, 1], dashed=True)],
            x_label="how sure: σ(|difference of scores|)",
            y_label="ranked right",
            percent=True,
        ),
    ]
