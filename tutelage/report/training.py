"""The training of each stage: curves of losses, learning rate and dev eval, and the selected checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage.html import (
    Html,
    Series,
    details,
    facts,
    line_plot,
    paragraph,
    section,
    table,
    tag,
)
from tutelage.report.curves import loss_plot, other_figures, preferences, rate_and_norm
from tutelage.report.evaluation import with_small
from tutelage.report.labels import format_count
from tutelage.report.read import EvalStep, Finished, SelectedCheckpoint, column, names_under
from tutelage.report.rollouts import rollout_curves
from tutelage.train.lr_range_test import LrRangeTest

EVALS = 12  # eval steps whose samples are shown, at most
DEV_EVAL = {"format": "format", "in_vocabulary": "known words", "held_out_questions": "held-out questions"}


def training(stages: Sequence[Finished], bases: Mapping[str, str]) -> Html | None:
    """A part for each stage, None where there is none; `bases` names the base model of those that are fine-tuned."""
    if not stages:
        return None
    known = {stage.name: stage for stage in stages}
    parts = [part for stage in stages for part in _stage(stage, known.get(bases.get(stage.name, "")))]
    note = (
        "Thick lines are means over a fortieth of the steps; pale bands reach from the "
        "lowest to the highest loss of a single step among them."
    )
    return section("Training", *parts, note=note)


def _stage(stage: Finished, base: Finished | None) -> list[Html]:
    info, log = stage.info, stage.log
    epochs = ", ".join(
        f"{name} {count:,.1f}×" if count >= 1 else f"{name} {count:.2g}×" for name, count in info.epochs.items()
    )
    trained = format_count(info.trained_tokens)
    cards: dict[str, str | Html] = {
        "steps": with_small(f"{info.steps:,}", f"{format_count(info.tokens)} tokens, {trained} trained"),
        "epochs": with_small(epochs.partition(",")[0], epochs.partition(", ")[2]),
        "peak learning rate": f"{info.lr:.2g}",
    }
    if info.loss is not None:
        start = "" if info.loss_start is None else f"from {info.loss_start:.3f} at step 1"
        cards["training loss"] = with_small(f"{info.loss:.3f}", start)
    parts = [tag("h3", stage.name, tag("span", f" · {info.title}"), attributes={"class": "stage-name"}), facts(cards)]
    parts += _selected_sentence(stage)
    parts += [loss_plot(log, info.loss_unit)]
    if info.lr_range_test is not None:
        parts += _range_test(info.lr_range_test, info.loss_unit)
    parts += _dev_eval(stage.evals, info.selected)
    parts += _base_text(stage, base)
    parts += preferences(log)
    return [*parts, rate_and_norm(log), *other_figures(log), *_written(stage.evals)]


def training_so_far(
    name: str, title: str, unit: str, log: list[dict[str, Any]], evals: Sequence[EvalStep], steps: int
) -> Html:
    """A section for a stage that is being trained, with at least one step; `unit` is that of its loss, `steps` is how
    many it will have, 0 where that is not known."""
    last = log[-1]
    trained = format_count(last.get("trained_tokens", 0))
    cards: dict[str, str | Html] = {
        "steps": with_small(f"{last['step']:,}", f"of {steps:,}" if steps else ""),
        "tokens": with_small(format_count(last.get("tokens", 0)), f"{trained} trained"),
        "learning rate": f"{last.get('lr', 0):.2g}",
    }
    if isinstance(last.get("loss"), int | float):
        cards["training loss"] = f"{last['loss']:.3f}"
    curves = [*rollout_curves(log, {}), loss_plot(log, unit), *_dev_eval(evals, None), *preferences(log)]
    parts = [facts(cards), *curves, rate_and_norm(log), *other_figures(log), *_written(evals)]
    return section(f"Training now: {name}", *parts, note=title)


def _range_test(test: LrRangeTest, unit: str) -> list[Html]:
    """The range test that found the learning rate."""
    heights = dict(zip(test.lrs, test.smoothed, strict=True))
    nearest = min(heights, key=lambda lr: abs(np.log(lr / test.chosen)))
    series = [
        Series("loss of the next step", test.lrs, test.losses),
        Series("its running mean", test.lrs, test.smoothed),
        Series(f"chosen: {test.chosen:g}", [nearest], [heights[nearest]]),
    ]
    title = "Learning-rate range test"
    return [
        line_plot(series, x_label="learning rate", y_label=f"loss ({unit})", log_x=True, title=title),
        paragraph(_range_test_sentence(test), muted=True),
    ]


def _range_test_sentence(test: LrRangeTest) -> str:
    end, reason = "and never clearly rises", "the learning rate of the steepest descent"
    if test.last_stable_lr is not None:
        end, reason = f"and rises beyond {test.last_stable_lr:g}", "a tenth of that"
    return (
        "Before training, the learning rate was raised step by step; the weights were restored afterwards. The loss "
        f"falls fastest at {test.steepest:g}, {end}. Chosen: {test.chosen:g}, {reason}."
    )


def _dev_eval(evals: Sequence[EvalStep], selected: SelectedCheckpoint | None) -> list[Html]:
    """The dev eval over training, with the selected step."""
    series = []
    for name, label in DEV_EVAL.items():
        rows = [(eval_step.step, eval_step.dev_eval[name]) for eval_step in evals if name in eval_step.dev_eval]
        if rows:
            rates, lows, highs = (np.array([getattr(rate, key) for _, rate in rows]) for key in ("rate", "low", "high"))
            steps = [step for step, _ in rows]
            series.append(Series(label, steps, rates, np.minimum(lows, rates), np.maximum(highs, rates)))
    if all(len(curve.x) < 2 for curve in series):  # a single point is not a curve
        return []
    scores = {eval_step.step: eval_step.score for eval_step in evals if eval_step.score is not None}
    if scores:
        series.append(Series("score, their mean", list(scores), list(scores.values()), dashed=True))
    series += _marks(selected, scores)
    return [
        paragraph(
            "During training the model answers a few prompts that no other evaluation uses. Their score, not the loss, "
            "shows when to stop.",
            muted=True,
        ),
        line_plot(series, x_label="step", y_label="share", percent=True, title="Dev eval during training"),
    ]


def _marks(selected: SelectedCheckpoint | None, heights: Mapping[int, float]) -> list[Series]:
    """Single points on a curve: the selected step, and the step of the lowest loss."""
    if selected is None:
        return []
    marks = {selected.step: "selected"}
    if selected.lowest_loss_step is not None:
        both = selected.lowest_loss_step == selected.step
        marks[selected.lowest_loss_step] = "selected, and lowest loss" if both else "lowest loss"
    return [
        Series(f"{name}: step {step:,}", [step], [heights[step]]) for step, name in marks.items() if step in heights
    ]


def _selected_sentence(stage: Finished) -> list[Html]:
    selected = stage.info.selected
    if selected is None or (selected.by == "last" and selected.lowest_loss_step is None):
        return []
    sentence = f"The weights of step {selected.step:,} of {stage.info.steps:,} were selected:"
    if selected.by == "last":
        sentence = f"The weights after the last step, {selected.step:,}, were selected."
    elif selected.by == "lowest_loss":
        sentence += " there its held-out loss was lowest."
    else:
        score = "" if selected.score is None else f" (score {selected.score:.1%})"
        sentence += f" there its dev eval was best{score}."
    if selected.lowest_loss_step is not None and selected.by != "lowest_loss":
        same = selected.lowest_loss_step == selected.step
        other = "the same" if same else f"step {selected.lowest_loss_step:,}"
        sentence += f" The held-out loss alone would have selected {other}."
    return [paragraph(sentence)]


def _base_text(stage: Finished, base: Finished | None) -> list[Html]:
    """The forgetting curve: loss on the base model's text during fine-tuning."""
    series: list[Series] = []
    heights: dict[int, float] = {}
    for name in names_under(stage.log, "base_held_out."):
        steps, losses = column(stage.log, f"base_held_out.{name}")
        series.append(Series(f"{name}, held-out text", steps, losses))
        heights = heights or dict(zip(steps.tolist(), losses.tolist(), strict=True))
        before = base.info.held_out.get(name) if base else None
        # With another context length the same text has another loss.
        if base and before is not None and _context(stage) in (None, _context(base)):
            series.append(Series(f"{name}, before", [steps[0], steps[-1]], [before, before], dashed=True))
    if len(heights) < 2:
        return []
    title = "Forgetting: loss on the base model's text"
    series += _marks(stage.info.selected, heights)
    return [line_plot(series, x_label="step", y_label="loss (nats per token)", title=title)]


def _context(stage: Finished) -> int | None:
    return stage.info.settings.get("context")


def _written(evals: Sequence[EvalStep]) -> list[Html]:
    """What the model wrote after the same held-out prompt, over training."""
    evals = [eval_step for eval_step in evals if eval_step.samples]
    if not evals:
        return []
    first = evals[0].samples[0]
    places = np.unique(np.linspace(0, len(evals) - 1, EVALS).round().astype(np.int64)).tolist()
    rows = [[f"{evals[place].step:,}", _text(evals[place].samples[0].written)] for place in places]
    return [
        details(
            "Samples during training",
            paragraph("After ", tag("q", first.prompt.strip()), ", with the true continuation:", muted=True),
            paragraph(_text(first.truth)),
            table(["step", "written"], rows, numeric=(0,)),
        )
    ]


def _text(text: str) -> Html:
    return tag("span", text.strip(), attributes={"class": "text"})
