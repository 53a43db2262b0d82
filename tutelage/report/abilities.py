"""What the models of a run can do: the sentence of its result, its key figures, and every evaluation with intervals."""

from __future__ import annotations

from collections.abc import Mapping

from tutelage.evaluate.statistics import Rate
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
from tutelage.report.read import Finished, Lost
from tutelage.report.words import change, in_order, memory, rate_words, reach, share, short

FORM = frozenset({"format", "format.has_content", "format.stops", "format.keeps_its_turn"})
# Of all other names that begin with "format.", each is a set of prompts that were not trained on.
NO_SET = frozenset({"format.real_words", "format.base_words", "format.verbatim", "format.seen"})
GENERALISATION = (
    "The same check on prompts ever further from those trained on. Right form is not yet sense: see how many of its "
    "words are real, and how many answers are copies."
)
BEFORE = "What the model could do that it was made from, on the same prompts and questions."
KNOWLEDGE = (
    "Conversations were about the trained people. Of held-out people it only read, so their rate shows what was "
    "learned by reading and can be asked for."
)


def last_of(stages: Mapping[str, Finished]) -> Finished:
    """The stage that the run is judged by: the last fine-tuned one, else the last."""
    tuned = [stage for stage in stages.values() if stage.is_fine_tuned]
    return (tuned or list(stages.values()))[-1]


def result_sentence(stages: Mapping[str, Finished]) -> Html:
    """What the run's model can do, and what it cost, in a few sentences."""
    stage = last_of(stages)
    rates = stage.rates
    can = []
    if "format" in rates:
        of = rates["format"]
        prompts = "unseen prompts" if tried_on_unseen(rates) else "prompts it was trained on"
        can.append(f"keeps the form of a conversation on {share(of.rate)} of {of.count:,} {prompts} ({reach(of)})")
    if "knowledge.held_out" in rates:
        of = rates["knowledge.held_out"]
        can.append(f"answers {share(of.rate)} of the questions about people it only read of ({reach(of)})")
    loss = next(iter(stage.info.held_out.values()), None)
    if not can and loss is not None:
        can.append(f"predicts held-out text at {loss:.3f} nats a token")
    said: list[Html | str] = [join([tag("strong", stage.name), f" {', and '.join(can)}. "])] if can else []
    if stage.forgetting:
        said.append(f"{_forgot(_worst(stage))} ")
    total = sum(one.info.seconds for one in stages.values())
    tokens = sum(one.info.tokens for one in stages.values())
    said.append(f"Training took {duration(total)} and {short(tokens)} tokens in all.")
    return join(said)


def _forgot(lost: Lost) -> str:
    """Forgetting in a sentence, which says that something was lost only where the interval does."""
    if lost.low > 0:
        interval = f"{share(lost.low)} to {share(lost.high)}"
        return f"It forgot: its loss on the base model's text rose by {share(lost.increase)} ({interval})."
    opening = "It forgot nothing" if lost.high < 0 else "Forgetting cannot be told from none"
    return f"{opening}: its loss on the base model's text changed by {change(lost.increase)} ({change_reach(lost)})."


def key_figures(stages: Mapping[str, Finished], seconds: float | None) -> Html:
    """The figures a person looks for first, as cards."""
    stage = last_of(stages)
    info, rates = stage.info, stage.rates
    cards: dict[str, str | Html] = {}
    names = {"format": "keeps the form", "knowledge.held_out": "held-out questions", "format.real_words": "real words"}
    for name, words in names.items():
        if name in rates:
            cards[words] = with_small(share(rates[name].rate), reach(rates[name]))
    if stage.forgetting:
        lost = _worst(stage)
        cards["loss on the base's text"] = with_small(change(lost.increase), change_reach(lost))
    for name, loss in info.held_out.items():
        if loss is not None:
            cards[f"held-out loss, {name}"] = with_small(f"{loss:.3f}", "nats a token")
    cards["parameters"] = with_small(short(info.parameters), f"{info.vocab:,} tokens in the vocabulary")
    trained = f"{short(sum(one.info.tokens for one in stages.values()))} tokens"
    cards["training"] = with_small(duration(sum(one.info.seconds for one in stages.values())), trained)
    peak = max(one.info.peak_rss_bytes for one in stages.values())
    cards["peak memory"] = with_small(memory(peak), f"whole run {duration(seconds)}" if seconds else "")
    return facts(cards)


def with_small(figure: str, small: str) -> Html:
    """A figure with what is to be known of it in small print below."""
    return join([figure, tag("span", small, attributes={"class": "below"}) if small else None])


def abilities(stages: Mapping[str, Finished]) -> Html | None:
    """Every evaluation of every stage; None where nothing was evaluated."""
    of_stages = {name: rates for name, stage in stages.items() if (rates := stage.rates)}
    parts = [*_plots(of_stages), *_forgetting(stages)]
    if not parts:
        return None
    if of_stages:
        parts.append(details("Every rate as a table", _rate_table(of_stages)))
    note = "Bars are 95% intervals: of such intervals, 19 of 20 hold the true rate."
    return section("What the models can do", *parts, note=note)


def _plots(of_stages: Mapping[str, Mapping[str, Rate]]) -> list[Html]:
    """A plot for each group of rates, the stages side by side."""
    known = in_order({name for rates in of_stages.values() for name in rates})
    form = [name for name in known if name in FORM]
    reaches = [name for name in known if name.startswith("format.") and name not in FORM]
    before = [name for name in known if name.startswith("before.")]
    knows = [name for name in known if not name.startswith("format") and name not in before]
    groups = [
        ("The form of a conversation", form, _form_note(of_stages)),
        ("How far it generalises", reaches, GENERALISATION),
        ("What it knows", knows, KNOWLEDGE),
        ("Before fine-tuning", before, BEFORE),
    ]
    plots: list[Html] = []
    for title, names, note in groups:
        rows = [
            interval(rate_words(name), rates[name], stage)
            for name in names
            for stage, rates in of_stages.items()
            if name in rates
        ]
        if rows:
            plots += [heading(title), paragraph(note, muted=True), interval_plot(rows, x_label="share")]
    return plots


def _form_note(of_stages: Mapping[str, Mapping[str, Rate]]) -> str:
    only_seen = [stage for stage, rates in of_stages.items() if "format" in rates and not tried_on_unseen(rates)]
    if not only_seen:
        return "On prompts that it was not trained on."
    others = f"{', '.join(only_seen)}: on those that it was, for there were no others."
    return f"On prompts that it was not trained on; {others}"


def tried_on_unseen(rates: Mapping[str, Rate]) -> bool:
    """Whether the form was tried on prompts that were not trained on; where there are none, it is tried on those."""
    return any(name.startswith("format.") and name not in FORM | NO_SET for name in rates)


def interval(label: str, rate: Rate, group: str) -> Interval:
    """A rate as a row of a plot. A bootstrap's interval may miss its own estimate by a little; a plot may not."""
    return Interval(label, rate.rate, min(rate.low, rate.rate), max(rate.high, rate.rate), group)


def _rate_table(of_stages: Mapping[str, Mapping[str, Rate]]) -> Html:
    known = in_order({name for rates in of_stages.values() for name in rates})
    rows = []
    for name in known:
        cells = [_cell(rates.get(name)) for rates in of_stages.values()]
        counts = {rates[name].count for rates in of_stages.values() if name in rates}
        rows.append([rate_words(name), " / ".join(f"{count:,}" for count in sorted(counts)), *cells])
    return table(["", "asked", *of_stages], rows, numeric=range(1, len(of_stages) + 2))


def _cell(rate: Rate | None) -> Html | str:
    return "" if rate is None else with_small(share(rate.rate), reach(rate))


def _forgetting(stages: Mapping[str, Finished]) -> list[Html]:
    """What fine-tuned stages lost of their base model's skill in predicting its text."""
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
            with_small(change(lost.increase), change_reach(lost)),
            badge("more than a tenth", "bad") if lost.alarm else badge("no alarm", "good"),
        ]
        for label, lost in rows.items()
    ]
    return [
        heading("What it forgot"),
        paragraph(
            "Loss on text that both were kept from, before and after fine-tuning: of the base's pre-training where "
            "that is known, else texts of many kinds that come with Tutelage. More is worse; more than a tenth is an "
            "alarm.",
            muted=True,
        ),
        interval_plot(bars, x_label="change of the loss"),
        table(["", "bits a byte", "change", ""], cells, numeric=(1, 2)),
    ]


def _worst(stage: Finished) -> Lost:
    return max(stage.forgetting.values(), key=lambda lost: lost.increase)


def change_reach(lost: Lost) -> str:
    """The interval of a change in words."""
    return f"{change(lost.low)} to {change(lost.high)}"
