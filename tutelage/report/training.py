"""How each stage was trained: curves of loss, rate and behaviour, and which checkpoint was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.html import (
    Html,
    Series,
    columns,
    details,
    facts,
    line_plot,
    paragraph,
    section,
    table,
    tag,
)
from tutelage.report.abilities import with_small
from tutelage.report.read import Chosen, Finished, Look, column, names_under
from tutelage.report.words import short
from tutelage.train.find_lr import RateSearch

POINTS = 300  # of a smoothed curve
SMOOTHED_FROM = 60  # steps; a shorter curve is drawn as it is
WINDOW = 40  # a smoothed point is the mean over about one part in this of the steps
LOOKS = 12  # of those at which samples were written, so many are shown
BEHAVIOUR = {"format": "form", "real_words": "real words", "held_out_questions": "held-out questions"}


def training(stages: Sequence[Finished], bases: Mapping[str, str]) -> Html | None:
    """A part for each stage, None where there is none; `bases` names the base model of those that are fine-tuned."""
    if not stages:
        return None
    known = {stage.name: stage for stage in stages}
    parts = [part for stage in stages for part in _stage(stage, known.get(bases.get(stage.name, "")))]
    note = (
        "Losses are in nats a token. Thick lines are means over a fortieth of the steps, the pale bands the lowest and "
        "highest loss of a single step among them."
    )
    return section("Training", *parts, note=note)


def _stage(stage: Finished, base: Finished | None) -> list[Html]:
    info, log = stage.info, stage.log
    fine_tuned = stage.is_fine_tuned
    passes = ", ".join(
        f"{name} {count:,.1f}×" if count >= 1 else f"{name} {count:.2g}×" for name, count in info.passes.items()
    )
    cards: dict[str, str | Html] = {
        "steps": with_small(f"{info.steps:,}", f"{short(info.tokens)} tokens, {short(info.trained_tokens)} trained"),
        "passes over the data": with_small(passes.partition(",")[0], passes.partition(", ")[2]),
        "peak learning rate": f"{info.lr:.2g}",
    }
    if info.loss is not None:
        start = "" if info.loss_start is None else f"from {info.loss_start:.3f} at step 1"
        cards["training loss"] = with_small(f"{info.loss:.3f}", start)
    kind = "fine-tuning" if fine_tuned else "pre-training"
    parts = [tag("h3", stage.name, tag("span", f" · {kind}"), attributes={"class": "stage-name"}), facts(cards)]
    parts += _chosen_sentence(stage)
    parts.append(line_plot(_losses(log), x_label="step", y_label="loss (nats a token)", title="Loss"))
    if info.rate_search is not None:
        parts += _rate_search(info.rate_search)
    if fine_tuned:
        parts += _behaviour(stage)
        parts += _base_text(stage, base)
    rate_and_norm = [
        line_plot([Series(title, *column(log, name))], x_label="step", y_label=title)
        for name, title in (("lr", "learning rate"), ("gradient_norm", "gradient norm"))
    ]
    parts.append(details("Learning rate and gradient norm", columns(*rate_and_norm)))
    parts += _written(stage.looks)
    return parts


def _rate_search(search: RateSearch) -> list[Html]:
    """The sweep that the learning rate was found by."""
    heights = dict(zip(search.rates, search.smoothed, strict=True))
    nearest = min(heights, key=lambda rate: abs(np.log(rate / search.chosen)))
    series = [
        Series("loss of the next step", search.rates, search.losses),
        Series("its running mean", search.rates, search.smoothed),
        Series(f"chosen: {search.chosen:g}", [nearest], [heights[nearest]]),
    ]
    return [
        line_plot(series, x_label="learning rate", y_label="loss (nats a token)", log_x=True, title="Finding the rate"),
        paragraph(_search_sentence(search), muted=True),
    ]


def _search_sentence(search: RateSearch) -> str:
    apart, why = "and never clearly rises", "the rate of the steepest fall"
    if search.turned is not None:
        apart, why = f"and rises beyond {search.turned:g}", "a tenth of that"
    return (
        f"Before training, the rate was raised step by step on weights that were put back afterwards. The loss falls "
        f"fastest at {search.steepest:g}, {apart}. Taken was {search.chosen:g}: {why}."
    )


def smooth(steps: np.ndarray, values: np.ndarray, name: str) -> Series:
    """A curve as means over windows of its steps, with the lowest and highest value of each as its band.

    At both ends windows shrink, so that the first and the last point are the values themselves.
    """
    if len(steps) <= SMOOTHED_FROM:
        return Series(name, steps, values)
    half = max(1, len(steps) // (2 * WINDOW))
    centres = np.unique(np.linspace(0, len(steps) - 1, POINTS).round().astype(np.int64))
    reaches = np.minimum(half, np.minimum(centres, len(steps) - 1 - centres))
    windows = [values[c - r : c + r + 1] for c, r in zip(centres.tolist(), reaches.tolist(), strict=True)]
    means, lows, highs = (np.array([of(window) for window in windows]) for of in (np.mean, np.min, np.max))
    return Series(name, steps[centres], means, lows, highs)


def _losses(log: list[dict[str, Any]]) -> list[Series]:
    """The loss of every source, smoothed, and the held-out losses."""
    sources = names_under(log, "loss.")
    train = [smooth(*column(log, f"loss.{name}"), f"train, {name}") for name in sources]
    train = train or [smooth(*column(log, "loss"), "train")]
    held_out = names_under(log, "held_out.")
    return [*train, *(Series(f"held out, {name}", *column(log, f"held_out.{name}"), dashed=True) for name in held_out)]


def _behaviour(stage: Finished) -> list[Html]:
    """How the answers changed over fine-tuning, with the look that was kept."""
    series = []
    for name, words in BEHAVIOUR.items():
        rows = [(look.step, look.behaviour[name]) for look in stage.looks if name in look.behaviour]
        if rows:
            rates, lows, highs = (np.array([getattr(rate, key) for _, rate in rows]) for key in ("rate", "low", "high"))
            steps = [step for step, _ in rows]
            series.append(Series(words, steps, rates, np.minimum(lows, rates), np.maximum(highs, rates)))
    if all(len(one.x) < 2 for one in series):  # a single look is no curve
        return []
    scores = {look.step: look.score for look in stage.looks if look.score is not None}
    if scores:
        series.append(Series("score, their mean", list(scores), list(scores.values()), dashed=True))
    series += _marks(stage.info.chosen, scores)
    return [
        paragraph(
            "At each look the model answers short trials that are never reported on elsewhere. This, and not the loss, "
            "says when to stop.",
            muted=True,
        ),
        line_plot(series, x_label="step", y_label="share", percent=True, title="Behaviour over fine-tuning"),
    ]


def _marks(chosen: Chosen | None, heights: Mapping[int, float]) -> list[Series]:
    """Single points on a curve: the look that was kept, and the one that loss alone would have picked."""
    if chosen is None:
        return []
    marks = {chosen.step: "kept"}
    if chosen.lowest_loss_step is not None:
        both = chosen.lowest_loss_step == chosen.step
        marks[chosen.lowest_loss_step] = "kept, and lowest loss" if both else "lowest loss"
    return [
        Series(f"{name}: step {step:,}", [step], [heights[step]]) for step, name in marks.items() if step in heights
    ]


def _chosen_sentence(stage: Finished) -> list[Html]:
    chosen = stage.info.chosen
    if chosen is None or (chosen.by == "last" and chosen.lowest_loss_step is None):
        return []
    kept = f"The weights of step {chosen.step:,} of {stage.info.steps:,} were kept:"
    if chosen.by == "last":
        said = f"The weights after the last step, {chosen.step:,}, were kept."
    elif chosen.by == "loss":
        said = f"{kept} there its held-out loss was lowest."
    else:
        score = "" if chosen.score is None else f" (score {chosen.score:.1%})"
        said = f"{kept} there it behaved best{score}."
    if chosen.lowest_loss_step is not None and chosen.by != "loss":
        same = chosen.lowest_loss_step == chosen.step
        picked = "the same" if same else f"step {chosen.lowest_loss_step:,}"
        said += f" The held-out loss alone would have picked {picked}."
    return [paragraph(said)]


def _base_text(stage: Finished, base: Finished | None) -> list[Html]:
    """The forgetting curve: loss on the base model's text while it is fine-tuned."""
    series: list[Series] = []
    heights: dict[int, float] = {}
    for name in names_under(stage.log, "base_held_out."):
        steps, losses = column(stage.log, f"base_held_out.{name}")
        series.append(Series(f"{name}, held-out text", steps, losses))
        heights = heights or dict(zip(steps.tolist(), losses.tolist(), strict=True))
        before = base.info.held_out.get(name) if base else None
        # A text cut to another context has another loss.
        if base and before is not None and _context(stage) in (None, _context(base)):
            series.append(Series(f"{name}, before", [steps[0], steps[-1]], [before, before], dashed=True))
    if len(heights) < 2:
        return []
    title = "Forgetting: loss on the base model's text"
    series += _marks(stage.info.chosen, heights)
    return [line_plot(series, x_label="step", y_label="loss (nats a token)", title=title)]


def _context(stage: Finished) -> int | None:
    return stage.info.settings.get("context")


def _written(looks: Sequence[Look]) -> list[Html]:
    """What the model wrote after the same held-out prompt, look after look."""
    looks = [look for look in looks if look.samples]
    if not looks:
        return []
    first = looks[0].samples[0]
    places = np.unique(np.linspace(0, len(looks) - 1, LOOKS).round().astype(np.int64)).tolist()
    rows = [[f"{looks[place].step:,}", _text(looks[place].samples[0].written)] for place in places]
    return [
        details(
            "What it wrote, look after look",
            paragraph("After ", tag("q", first.prompt.strip()), ", where in truth stands:", muted=True),
            paragraph(_text(first.truth)),
            table(["step", "written"], rows, numeric=(0,)),
        )
    ]


def _text(text: str) -> Html:
    return tag("span", text.strip(), attributes={"class": "said"})
