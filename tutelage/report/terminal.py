"""A finished run on the terminal: what each stage did, and what each model can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.progress import duration
from tutelage.report.words import change, figure_words, in_order, memory, points, rate_words


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Two tables: the stages, and the evaluations with their 95% intervals."""
    stages = [key.split(".")[1] for key in summary if key.startswith("stages.") and key.endswith(".steps")]
    console.print(_stage_table(summary, stages))
    rates = _rate_table(summary, stages)
    if rates.row_count:
        console.print(rates)
    for stage in stages:
        if said := _kept(summary, f"stages.{stage}."):
            console.print(f"{stage}: {said}", highlight=False)
    for stage in stages:
        name = f"evaluate.{stage}.forgetting."
        if f"{name}increase" in summary:
            increase, low, high = (summary[f"{name}{key}"] for key in ("increase", "low", "high"))
            alarm = "  [bold red]alarm: more than a tenth[/]" if summary[f"{name}alarm"] else ""
            console.print(
                f"{stage} forgets: loss on held-out text {summary[f'{name}before']:.3f} -> "
                f"{summary[f'{name}after']:.3f} bits per byte, {increase:+.1%} (95%: {low:+.1%} to {high:+.1%}){alarm}"
            )
    for stage in stages:
        _print_ledgers(summary, stage, console)
    peak = summary["peak_rss_bytes"] / 2**30
    console.print(f"took {duration(summary['seconds'])}, at most {peak:.2f} GiB of memory")


def _kept(summary: Mapping[str, Any], prefix: str) -> str:
    """Which look's weights a stage kept and why; "" where it kept the last, for it never looked."""
    step, last = (summary.get(f"{prefix}chosen.{name}") for name in ("step", "last"))
    why = {
        "behaviour": f"there it behaved best (score {summary.get(f'{prefix}chosen.score', 0.0):.1%})",
        "loss": "there its held-out loss was lowest",
    }.get(summary.get(f"{prefix}chosen.by", ""))
    return f"the weights of step {step:,} of {last:,} were kept: {why}" if why else ""


def _stage_table(summary: Mapping[str, Any], stages: list[str]) -> Table:
    """A column a stage, so that figures of any length stand whole in a narrow terminal."""
    rows: dict[str, list[str]] = {}
    for stage in stages:
        prefix = f"stages.{stage}."
        of = {key.removeprefix(prefix): value for key, value in summary.items() if key.startswith(prefix)}
        held_out = [f"{value:.3f}" for key, value in of.items() if key.startswith("held_out.")]
        cells = {
            "parameters": f"{of['parameters']:,}",
            "steps": f"{of['steps']:,}",
            "weights of step": f"{of.get('chosen.step', of['steps']):,}",
            "tokens": f"{of['tokens']:,}",
            "graded tokens": f"{of['graded']:,.0f}",
            "tokens a second": f"{of['tokens_per_second']:,.0f}",
            "time": duration(of["seconds"]),
            "loss": f"{of['loss']:.3f}",
            "held-out loss": ", ".join(held_out),
        }
        for words, cell in cells.items():
            rows.setdefault(words, []).append(cell)
    return _columns("stages", stages, rows)


def _columns(title: str, headings: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    """A table with words on the left and a column of figures a heading."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    for words, cells in rows.items():
        table.add_row(words, *cells)
    return table


def _rate_table(summary: Mapping[str, Any], stages: list[str]) -> Table:
    of_stages = {stage: _rate_names(summary, f"evaluate.{stage}.") for stage in stages}
    columns = [stage for stage in stages if of_stages[stage]]
    rows = {}
    for name in in_order({name for names in of_stages.values() for name in names}):
        rows[rate_words(name)] = [
            _interval(summary, f"evaluate.{stage}.{name}.") if name in of_stages[stage] else "" for stage in columns
        ]
    return _columns("what the models can do (95% interval)", columns, rows)


def _rate_names(summary: Mapping[str, Any], prefix: str) -> set[str]:
    """The dotted names of a stage's rates."""
    return {key[len(prefix) : -len(".rate")] for key in summary if key.startswith(prefix) and key.endswith(".rate")}


def _print_ledgers(summary: Mapping[str, Any], stage: str, console: Console) -> None:
    """What became of every row of the stage's data: read = kept + dropped, by reason."""
    prefix = f"stages.{stage}.ledgers."
    for source in [key.removeprefix(prefix).removesuffix(".step") for key in summary if _names_a_ledger(key, prefix)]:
        of = {k.removeprefix(f"{prefix}{source}."): v for k, v in summary.items() if k.startswith(f"{prefix}{source}.")}
        dropped = {key.split(".")[1]: rows for key, rows in of.items() if key.startswith("dropped.") and "rows" in key}
        parts = [f"{of['rows_kept']:,} kept", *(f"{rows:,} {reason}" for reason, rows in dropped.items())]
        console.print(f"{stage} < {source}: {of['rows_read']:,} rows = {' + '.join(parts)}", highlight=False)


def _names_a_ledger(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key.endswith(".step")


def _interval(summary: Mapping[str, Any], prefix: str) -> str:
    return f"{summary[f'{prefix}rate']:.1%} ({summary[f'{prefix}low']:.1%} to {summary[f'{prefix}high']:.1%})"


def print_plan(plan: Mapping[str, Any], console: Console) -> None:
    """What each stage will cost, and on what the times rest."""
    rows: dict[str, list[str]] = {}
    for stage in plan["stages"].values():
        cells = {
            "": "done" if stage["done"] else "to do",
            "parameters": f"{stage['parameters']:,}",
            "tokens": f"{stage['tokens']:,}",
            "steps": f"{stage['steps']:,}",
            "FLOPs": f"{stage['flops']:.2g}",
            "time": duration(stage["seconds"]),
            "weights, gradients, optimizer state": f"{stage['state_bytes'] / 2**20:,.1f} MiB",
            "activations": f"{stage['activation_bytes'] / 2**20:,.1f} MiB",
        }
        for words, cell in cells.items():
            rows.setdefault(words, []).append(cell)
    console.print(_columns(f"plan of {plan['name']}", list(plan["stages"]), rows))
    speed = plan["matrix_flops_per_second"] / 1e9
    console.print(
        f"to do: about {duration(plan['seconds'])}, if training reaches {plan['utilisation']:.0%} of this machine's "
        f"{speed:,.0f} GFLOP/s; about {plan['peak_bytes'] / 2**20:,.0f} MiB above what Python and PyTorch take"
    )


_VERDICTS = {"better": "green", "worse": "red"}


def print_comparison(comparison: Mapping[str, Any], console: Console) -> None:
    """What `report.compare.compare` found: what can be told apart, what each cost, which settings differ."""
    console.print(f"first: {comparison['first']}\nsecond: {comparison['second']}", highlight=False)
    both = ["first", "second"]
    for name, pair in comparison["stages"].items():
        console.print(_differences(name, pair))
        numbers = {figure_words(figure): of for figure, of in (pair["figures"] | pair["costs"]).items()}
        rows = {words: [_number(words, of[one]) for one in both] for words, of in numbers.items()}
        console.print(_columns(f"{name}: no intervals; timings are of one run each", both, rows))
    if comparison["settings"]:
        rows = {setting: [_setting(of[one]) for one in both] for setting, of in comparison["settings"].items()}
        console.print(_columns("settings that differ", both, rows))
    else:
        console.print("no setting differs")


def _differences(name: str, pair: Mapping[str, Any]) -> Table:
    """Rates and losses of both, their difference and the verdict on the second."""
    table = Table(title=f"{name}: the second against the first (95% interval)", title_justify="left")
    for heading in ("", "first", "second", "difference"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_column("the second is")
    for rate, of in pair["rates"].items():
        paired = of.get("paired")
        found = ""
        if paired:
            found = f"{points(paired['difference'])} ({points(paired['low'])} to {points(paired['high'])})"
        cells = f"{of['first']['rate']:.1%}", f"{of['second']['rate']:.1%}", found
        table.add_row(rate_words(rate), *cells, _verdict(paired))
    for data, of in pair["losses"].items():
        paired = of["paired"]
        found = f"{change(paired['change'])} ({change(paired['low'])} to {change(paired['high'])})"
        cells = f"{of['first']:.3f}", f"{of['second']:.3f}", found
        table.add_row(f"bits a byte on held-out text '{data}'", *cells, _verdict(paired))
    return table


def _verdict(paired: Mapping[str, Any] | None) -> Text:
    verdict = paired["verdict"] if paired else ""
    return Text(verdict, _VERDICTS.get(verdict, "dim"))


def _number(words: str, value: float) -> str:
    if words == "time":
        return duration(value)
    if words == "peak memory":
        return memory(value)
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3f}"


def _setting(value: Any) -> str:
    return "not set" if value is None else str(value)
