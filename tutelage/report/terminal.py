"""A finished run, a plan and a comparison on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.progress import duration
from tutelage.report.labels import (
    PREFERENCE_FIGURES,
    figure_label,
    format_bytes,
    format_change,
    format_p,
    format_points,
    in_display_order,
    rate_label,
)


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Prints the stages, the evaluations with their 95% intervals, forgetting and the data ledgers."""
    stages = [key.split(".")[1] for key in summary if key.startswith("stages.") and key.endswith(".steps")]
    _print_columns("stages", stages, _stage_rows(summary, stages), console)
    _print_rates(summary, stages, console)
    for stage in stages:
        if sentence := _selected(summary, f"stages.{stage}."):
            console.print(f"{stage}: {sentence}", highlight=False)
    for stage in stages:
        name = f"evaluate.{stage}.forgetting."
        if f"{name}increase" in summary:
            increase, low, high = (summary[f"{name}{key}"] for key in ("increase", "low", "high"))
            alarm = summary[f"{name}alarm"]
            console.print(
                f"{stage} on text that it was not fine-tuned on: loss {summary[f'{name}before']:.3f} -> "
                f"{summary[f'{name}after']:.3f} bits per byte, {increase:+.1%} (95%: {low:+.1%} to {high:+.1%})"
                + "  alarm: more than a tenth"
                * alarm,
                style="bold red" if alarm else None,
            )
    for stage in stages:
        _print_row_losses(summary, stage, console)
        if sentence := _preferences(summary, f"evaluate.{stage}.preferences."):
            console.print(f"{stage}, held-out preferences (mean, 95%): {sentence}", highlight=False)
        for sentence in _rewards(summary, f"evaluate.{stage}."):
            console.print(f"{stage}, {sentence}", highlight=False)
    for stage in stages:
        _print_ledgers(summary, stage, console)
    peak = summary["peak_rss_bytes"] / 2**30
    console.print(f"took {duration(summary['seconds'])}, at most {peak:.2f} GiB of memory")


def _selected(summary: Mapping[str, Any], prefix: str) -> str:
    """Which step's weights a stage selected and why; "" where those of the last step were."""
    step, last = (summary.get(f"{prefix}selected.{name}") for name in ("step", "last"))
    reason = {
        "best_eval": f"there its dev eval was best (score {summary.get(f'{prefix}selected.score', 0.0):.1%})",
        "lowest_loss": "there its held-out loss was lowest",
    }.get(summary.get(f"{prefix}selected.by", ""))
    return f"the weights of step {step:,} of {last:,} were selected: {reason}" if reason else ""


def _rewards(summary: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """True utility and proxy of a stage's answers, with their change in training; and where a curve says to stop."""
    for name, label in {"true": "true utility", "proxy": "proxy"}.items():
        of, gain = (f"{prefix}utility.trained.{part}{name}" for part in ("", "gain."))
        if f"{of}.mean" in summary:
            mean, low, high = (summary[f"{of}.{key}"] for key in ("mean", "low", "high"))
            change = "{mean:+.2f} ({low:+.2f} to {high:+.2f})"
            of_gain = {key: summary.get(f"{gain}.{key}") for key in ("mean", "low", "high")}
            moved = "" if of_gain["mean"] is None else f"; in training {change.format(**of_gain)}"
            yield f"{label} of its answers (mean, 95%): {change.format(mean=mean, low=low, high=high)}{moved}"
    for suite, label in {"best_of_n": "best of n", "hacking": "kept steps"}.items():
        if sentence := summary.get(f"{prefix}{suite}.verdict.sentence"):
            yield f"{label}: {sentence}"


def _preferences(summary: Mapping[str, Any], prefix: str) -> str:
    """The figures of held-out preferences that are not shares."""
    parts = []
    for name, label in PREFERENCE_FIGURES.items():
        mean, low, high = (summary.get(f"{prefix}{name}.{key}") for key in ("mean", "low", "high"))
        if mean is not None:
            interval = "" if low is None else f" ({low:+.3g} to {high:+.3g})"
            parts.append(f"{label} {mean:+.3g}{interval}")
    return ", ".join(parts)


def _stage_rows(summary: Mapping[str, Any], stages: list[str]) -> dict[str, list[str]]:
    """Figures of the training of each stage, a column a stage."""
    rows: dict[str, list[str]] = {}
    for stage in stages:
        prefix = f"stages.{stage}."
        of = {key.removeprefix(prefix): value for key, value in summary.items() if key.startswith(prefix)}
        held_out = [f"{value:.3f}" for key, value in of.items() if key.startswith("held_out.")]
        cells = {
            "parameters": f"{of['parameters']:,}",
            "of these trained": f"{of.get('trained_parameters', of['parameters']):,}",
            "steps": f"{of['steps']:,}",
            "weights of step": f"{of.get('selected.step', of['steps']):,}",
            "tokens": f"{of['tokens']:,}",
            "trained tokens": f"{of['trained_tokens']:,.0f}",
            "tokens per second": f"{of['tokens_per_second']:,.0f}",
            "time": duration(of["seconds"]),
            "loss": f"{of['loss']:.3f}",
            "held-out loss": ", ".join(held_out),
        }
        for label, cell in cells.items():
            rows.setdefault(label, []).append(cell)
    return rows


LABELS, BORDERS = 26, 3  # terminal columns for the labels on the left, and for the borders of a column


def _print_columns(title: str, headings: Sequence[str], rows: Mapping[str, Sequence[str]], console: Console) -> None:
    """Prints a table with labels on the left and a column of figures for each heading; several tables where one would
    be wider than the terminal."""
    widths = [max(map(len, (heading, *cells))) for heading, *cells in zip(headings, *rows.values(), strict=True)]
    left = min(LABELS, max(map(len, rows), default=0)) + BORDERS + 1
    for part in _parts(widths, console.width - left):
        table = _table(title, headings[part], fold=max(widths[part]) + left + BORDERS > console.width)
        for label, cells in rows.items():
            table.add_row(label, *cells[part])
        console.print(table)


def _parts(widths: Sequence[int], room: int) -> Iterator[slice]:
    """The columns in slices that fit into the room, each of at least one column."""
    start = taken = 0
    for place, width in enumerate(widths):
        taken += width + BORDERS
        if taken > room and place > start:
            yield slice(start, place)
            start, taken = place, width + BORDERS
    if widths:
        yield slice(start, len(widths))


def _table(title: str, headings: Sequence[str], fold: bool) -> Table:
    """A table with labels on the left, which wrap, and figures, which wrap only where `fold` is set."""
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=not fold, overflow="fold")
    return table


def _print_rates(summary: Mapping[str, Any], stages: list[str], console: Console) -> None:
    of_stages = {stage: _rate_names(summary, f"evaluate.{stage}.") for stage in stages}
    columns = [stage for stage in stages if of_stages[stage]]
    rows = {}
    for name in in_display_order({name for names in of_stages.values() for name in names}):
        rows[rate_label(name)] = [
            _interval(summary, f"evaluate.{stage}.{name}.") if name in of_stages[stage] else "" for stage in columns
        ]
    _print_columns("what the models can do (95% interval)", columns, rows, console)


def _rate_names(summary: Mapping[str, Any], prefix: str) -> set[str]:
    """The dotted names of a stage's rates."""
    return {key[len(prefix) : -len(".rate")] for key in summary if key.startswith(prefix) and key.endswith(".rate")}


def _print_row_losses(summary: Mapping[str, Any], stage: str, console: Console) -> None:
    """How much the loss on held-out rows fell, for each dataset."""
    prefix = f"evaluate.{stage}.held_out_rows.by_data."
    for key in [key for key in summary if key.startswith(prefix) and key.endswith(".change")]:
        name = key.removesuffix("change")
        before, after, low, high = (summary[f"{name}{figure}"] for figure in ("before", "after", "low", "high"))
        console.print(
            f"{stage} on held-out rows of {name.removeprefix(prefix)[:-1]}: loss {before:.3f} -> {after:.3f} nats per "
            f"token, {summary[key]:+.1%} (95%: {low:+.1%} to {high:+.1%})"
        )


def _print_ledgers(summary: Mapping[str, Any], stage: str, console: Console) -> None:
    """The ledger of each dataset: read = kept + held out + dropped, by reason."""
    prefix = f"stages.{stage}.ledgers."
    for name in [key.removeprefix(prefix).removesuffix(".step") for key in summary if _names_a_ledger(key, prefix)]:
        of = {k.removeprefix(f"{prefix}{name}."): v for k, v in summary.items() if k.startswith(f"{prefix}{name}.")}
        dropped = {key.split(".")[1]: rows for key, rows in of.items() if key.startswith("dropped.") and "rows" in key}
        held_out = [f"{of['rows_held_out']:,} held out"] if of["rows_held_out"] else []
        parts = [f"{of['rows_kept']:,} kept", *held_out, *(f"{rows:,} {reason}" for reason, rows in dropped.items())]
        console.print(f"{name} -> {stage}: {of['rows_read']:,} rows = {' + '.join(parts)}", highlight=False)


def _names_a_ledger(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key.endswith(".step")


def _interval(summary: Mapping[str, Any], prefix: str) -> str:
    return f"{summary[f'{prefix}rate']:.1%} ({summary[f'{prefix}low']:.1%} to {summary[f'{prefix}high']:.1%})"


def print_plan(plan: Mapping[str, Any], console: Console) -> None:
    """Prints the cost of each stage, and the assumptions behind the times."""
    rows: dict[str, list[str]] = {}
    for stage in plan["stages"].values():
        cells = {
            "": "done" if stage["done"] else "stopped" if stage["steps_done"] else "to do",
            "parameters": f"{stage['parameters']:,}",
            "tokens": f"{stage['tokens']:,}",
            "steps": f"{stage['steps']:,}",
            "steps done": f"{stage['steps_done']:,}",
            "FLOPs": f"{stage['flops']:.2g}",
            "time": duration(stage["seconds"]),
            "of it sampling, at most": duration(sampling) if (sampling := stage.get("sampling_seconds")) else "",
            "weights, gradients, optimizer state": f"{stage['state_bytes'] / 2**20:,.1f} MiB",
            "activations": f"{stage['activation_bytes'] / 2**20:,.1f} MiB",
        }
        for label, cell in cells.items():
            rows.setdefault(label, []).append(cell)
    rows = {label: cells for label, cells in rows.items() if any(cells)}
    _print_columns(f"plan of {plan['name']}", list(plan["stages"]), rows, console)
    console.print(
        f"to do: about {duration(plan['seconds'])} of training on this machine, without evaluations; about "
        f"{plan['peak_bytes'] / 2**20:,.0f} MiB on top of Python and PyTorch"
    )
    for name, maker in plan["unplanned"].items():
        console.print(f"not planned: {name}, whose rows '{maker}' makes", soft_wrap=True)
    for stage in plan["stages"].values():
        if stage["warning"]:
            console.print(f"warning: {stage['warning']}", style="yellow", soft_wrap=True)


_VERDICTS = {"better": "green", "worse": "red"}


def print_comparison(comparison: Mapping[str, Any], console: Console) -> None:
    """Prints a comparison by `report.compare.compare`: differences, costs, and the settings that differ."""
    console.print(f"first: {comparison['first']}\nsecond: {comparison['second']}", highlight=False)
    both = ["first", "second"]
    for name, pair in comparison["stages"].items():
        console.print(_differences(name, pair))
        numbers = {figure_label(figure): of for figure, of in (pair["figures"] | pair["costs"]).items()}
        rows = {label: [_number(label, of[side]) for side in both] for label, of in numbers.items()}
        _print_columns(f"{name}: no intervals; timings are of one run each", both, rows, console)
    if comparison["settings"]:
        table = _table("settings that differ", both, fold=True)
        for setting, of in comparison["settings"].items():
            table.add_row(setting, *(_setting(of[side]) for side in both))
        console.print(table)
    else:
        console.print("no setting differs")


def _differences(name: str, pair: Mapping[str, Any]) -> Table:
    """A table of the rates and losses of both, their difference and the verdict on the second."""
    table = _table(
        f"{name}: the second against the first (95% interval; McNemar's p after Holm)",
        ("first", "second", "difference"),
        fold=False,
    )
    table.add_column("the second is", max_width=14)
    for rate, of in pair["rates"].items():
        paired = of.get("paired")
        change = ""
        if paired:
            difference, low, high = (format_points(paired[key]) for key in ("difference", "low", "high"))
            change = f"{difference} ({low} to {high})"
        cells = f"{of['first']['rate']:.1%}", f"{of['second']['rate']:.1%}", change
        table.add_row(rate_label(rate), *cells, _verdict(paired))
    own = ((f"nats per token on held-out rows of '{data}'", of) for data, of in pair["row_losses"].items())
    texts = ((f"bits per byte on held-out text '{data}'", of) for data, of in pair["losses"].items())
    for label, of in (*own, *texts):
        paired = of["paired"]
        difference, low, high = (format_change(paired[key]) for key in ("change", "low", "high"))
        cells = f"{of['first']:.3f}", f"{of['second']:.3f}", f"{difference} ({low} to {high})"
        table.add_row(label, *cells, _verdict(paired))
    return table


def _verdict(paired: Mapping[str, Any] | None) -> Text:
    verdict = paired["verdict"] if paired else ""
    p_value = f", p {format_p(paired['holm'])}" if paired and "holm" in paired else ""  # losses have no test of items
    return Text(verdict + p_value, _VERDICTS.get(verdict, "dim"))


def _number(label: str, value: float) -> str:
    if label == "time":
        return duration(value)
    if label == "peak memory":
        return format_bytes(value)
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3f}"


def _setting(value: Any) -> str:
    return "not set" if value is None else str(value)
