"""What the models of a run can do: a summary in a few sentences, the key figures, every evaluation with intervals."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.evaluate.statistics import Rate
from tutelage.evaluate.suites import SUITES
from tutelage.html import (
    Html,
    Interval,
    badge,
    details,
    facts,
    heading,
    interval_plot,
    join,
    paragraph,
    section,
    table,
    tag,
)
from tutelage.progress import duration
from tutelage.report.knowing import knowing_tables
from tutelage.report.labels import (
    format_bytes,
    format_change,
    format_ci,
    format_count,
    format_pct,
    in_display_order,
    rate_label,
)
from tutelage.report.read import Finished, Forgetting


def last_of(stages: Mapping[str, Finished]) -> Finished:
    """The stage that represents the run: the last fine-tuned one, else the last."""
    fine_tuned = [stage for stage in stages.values() if stage.is_fine_tuned]
    return (fine_tuned or list(stages.values()))[-1]


def result_sentence(stages: Mapping[str, Finished]) -> Html:
    """What the run's model can do, and its cost, in a few sentences."""
    stage = last_of(stages)
    rates = stage.rates
    skills = []
    if "format.compliant" in rates:
        of = rates["format.compliant"]
        prompts = "unseen prompts" if asked_unseen_prompts(rates) else "prompts it was trained on"
        skills.append(f"keeps the chat format on {format_pct(of.rate)} of {of.count:,} {prompts} ({format_ci(of)})")
    if "knowledge.held_out" in rates:
        of = rates["knowledge.held_out"]
        skills.append(
            f"answers {format_pct(of.rate)} of the questions about people it only read about ({format_ci(of)})"
        )
    if "preferences.accuracy" in rates:
        of = rates["preferences.accuracy"]
        skills.append(f"ranks {format_pct(of.rate)} of {of.count:,} held-out preferences right ({format_ci(of)})")
    loss = next(iter(stage.info.held_out.values()), None)
    if not skills and loss is not None:
        skills.append(f"has a held-out loss of {loss:.3f} {stage.info.loss_unit}")
    sentences: list[Html | str] = [join([tag("strong", stage.name), f" {', and '.join(skills)}. "])] if skills else []
    if stage.forgetting:
        sentences.append(f"{_forgetting_sentence(_worst(stage))} ")
    seconds = sum(finished.info.seconds for finished in stages.values())
    tokens = sum(finished.info.tokens for finished in stages.values())
    sentences.append(f"Training took {duration(seconds)} and {format_count(tokens)} tokens in all.")
    return join(sentences)


def _forgetting_sentence(lost: Forgetting) -> str:
    """Forgetting in a sentence. It claims forgetting only where the interval is above 0."""
    if lost.low > 0:
        interval = f"{format_pct(lost.low)} to {format_pct(lost.high)}"
        return f"It forgot: its loss on the base model's text rose by {format_pct(lost.increase)} ({interval})."
    opening = "It forgot nothing" if lost.high < 0 else "Forgetting does not differ from 0"
    change = f"{format_change(lost.increase)} ({change_ci(lost)})"
    return f"{opening}: its loss on the base model's text changed by {change}."


def key_figures(stages: Mapping[str, Finished], seconds: float | None) -> Html:
    """The most important figures, as cards."""
    stage = last_of(stages)
    info, rates = stage.info, stage.rates
    cards: dict[str, str | Html] = {}
    labels = {
        "format.compliant": "chat format",
        "knowledge.held_out": "held-out questions",
        "format.in_vocabulary": "known words",
    }
    for name, label in labels.items():
        if name in rates:
            cards[label] = with_small(format_pct(rates[name].rate), format_ci(rates[name]))
    if stage.forgetting:
        lost = _worst(stage)
        cards["loss on the base model's text"] = with_small(format_change(lost.increase), change_ci(lost))
    for name, loss in info.held_out.items():
        if loss is not None:
            cards[f"held-out loss, {name}"] = with_small(f"{loss:.3f}", info.loss_unit)
    of_these = info.trained_parameters or info.parameters
    trainable = f"{format_count(of_these)} trained, " if of_these < info.parameters else ""
    below = f"{trainable}{info.vocab:,} tokens in the vocabulary"
    cards["parameters"] = with_small(format_count(info.parameters), below)
    trained = f"{format_count(sum(finished.info.tokens for finished in stages.values()))} tokens"
    cards["training"] = with_small(duration(sum(finished.info.seconds for finished in stages.values())), trained)
    peak = max(finished.info.peak_rss_bytes for finished in stages.values())
    cards["peak memory"] = with_small(format_bytes(peak), f"whole run {duration(seconds)}" if seconds else "")
    return facts(cards)


def with_small(figure: str, small: str) -> Html:
    """A figure with small print below."""
    return join([figure, tag("span", small, attributes={"class": "below"}) if small else None])


def evaluations(stages: Mapping[str, Finished]) -> Html | None:
    """Every evaluation of every stage; None where nothing was evaluated."""
    of_stages = {name: rates for name, stage in stages.items() if (rates := stage.rates)}
    parts = [*_learned(stages), *_plots(of_stages), *knowing_tables(stages), *_forgetting(stages)]
    if not parts:
        return None
    if of_stages:
        parts.append(details("Every rate as a table", _rate_table(of_stages)))
    note = "Bars are 95% intervals: 19 of 20 such intervals contain the true rate."
    return section("What the models can do", *parts, note=note)


def _plots(of_stages: Mapping[str, Mapping[str, Rate]]) -> list[Html]:
    """A plot for each group of rates of each suite, the stages side by side."""
    plots: list[Html] = []
    for suite in SUITES.values():
        measured = {name for rates in of_stages.values() for name in rates if name.startswith(f"{suite.name}.")}
        named = {f"{suite.name}.{name}" for group in suite.groups for name in group.names or ()}
        for group in suite.groups:
            in_group = measured - named if group.names is None else {f"{suite.name}.{name}" for name in group.names}
            rows = [
                interval(rate_label(name), rates[name], stage)
                for name in in_display_order(in_group & measured)
                for stage, rates in of_stages.items()
                if name in rates
            ]
            if rows:
                note = group.note + (_seen_only_note(of_stages) if suite.name == "format" else "")
                plots += [heading(group.title), paragraph(note, muted=True), interval_plot(rows, x_label="share")]
    return plots


def _seen_only_note(of_stages: Mapping[str, Mapping[str, Rate]]) -> str:
    """A note that names the stages that were asked only prompts they were trained on."""
    names = [n for n, rates in of_stages.items() if "format.compliant" in rates and not asked_unseen_prompts(rates)]
    return f" {', '.join(names)}: only prompts it was trained on; there are no others." if names else ""


def asked_unseen_prompts(rates: Mapping[str, Rate]) -> bool:
    """Whether the model was asked prompts that it was not trained on."""
    return any(name.startswith("format.prompts.") and name != "format.prompts.seen" for name in rates)


def interval(label: str, rate: Rate, group: str) -> Interval:
    """A rate as a row of a plot. A bootstrap interval may narrowly miss its own estimate; a plot's may not."""
    return Interval(label, rate.rate, min(rate.low, rate.rate), max(rate.high, rate.rate), group)


def _rate_table(of_stages: Mapping[str, Mapping[str, Rate]]) -> Html:
    known = in_display_order({name for rates in of_stages.values() for name in rates})
    rows = []
    for name in known:
        cells = [_cell(rates.get(name)) for rates in of_stages.values()]
        counts = {rates[name].count for rates in of_stages.values() if name in rates}
        rows.append([rate_label(name), " / ".join(f"{count:,}" for count in sorted(counts)), *cells])
    return table(["", "asked", *of_stages], rows, numeric=range(1, len(of_stages) + 2))


def _cell(rate: Rate | None) -> Html | str:
    return "" if rate is None else with_small(format_pct(rate.rate), format_ci(rate))


def _learned(stages: Mapping[str, Finished]) -> list[Html]:
    """How much the loss on held-out rows fell in fine-tuning."""
    rows = {f"{name}, {data}": of for name, stage in stages.items() for data, of in stage.row_losses.items()}
    if not rows:
        return []
    bars = [Interval(label, of.change, min(of.low, of.change), max(of.high, of.change)) for label, of in rows.items()]
    cells = [
        [
            label,
            f"{of.rows:,}",
            f"{of.before:.3f} → {of.after:.3f}",
            with_small(format_change(of.change), f"{format_change(of.low)} to {format_change(of.high)}"),
            badge("learned", "good") if of.high < 0 else badge("not shown to have learned", "bad"),
        ]
        for label, of in rows.items()
    ]
    return [
        heading("Did it learn the rows?"),
        paragraph("Loss on rows that it was not trained on, before and after fine-tuning.", muted=True),
        interval_plot(bars, x_label="change of the loss"),
        table(["", "rows", "nats per token", "change", ""], cells, numeric=(1, 2, 3)),
    ]


def _forgetting(stages: Mapping[str, Finished]) -> list[Html]:
    """How much the loss on the base model's text rose in fine-tuning."""
    several = len({data for stage in stages.values() for data in stage.forgetting}) > 1
    rows = {
        f"{name}, {data}" if several else name: lost
        for name, stage in stages.items()
        for data, lost in stage.forgetting.items()
    }
    if not rows:
        return []
    bars = [
        Interval(label, lost.increase, min(lost.low, lost.increase), max(lost.high, lost.increase))
        for label, lost in rows.items()
    ]
    cells = [
        [
            label,
            f"{lost.before:.3f} → {lost.after:.3f}",
            with_small(format_change(lost.increase), change_ci(lost)),
            badge("more than a tenth", "bad") if lost.alarm else badge("no alarm", "good"),
        ]
        for label, lost in rows.items()
    ]
    return [
        heading("What it forgot"),
        paragraph(
            "Loss on text that neither model was trained on, before and after fine-tuning: held out of the base "
            "model's pre-training where that is known, else texts of many kinds that come with Tutelage. A rise of "
            "more than a tenth is an alarm.",
            muted=True,
        ),
        interval_plot(bars, x_label="change of the loss"),
        table(["", "bits per byte", "change", ""], cells, numeric=(1, 2)),
    ]


def _worst(stage: Finished) -> Forgetting:
    return max(stage.forgetting.values(), key=lambda lost: lost.increase)


def change_ci(lost: Forgetting) -> str:
    """The 95% interval of a change: "+15.0% to +25.0%"."""
    return f"{format_change(lost.low)} to {format_change(lost.high)}"
