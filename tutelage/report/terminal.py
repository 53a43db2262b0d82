"""A finished run on the terminal: what each stage did, and what each model can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tutelage.progress import duration

# Dotted names below `evaluate.STAGE.` that are rates, and how a person says them.
RATES = {
    "format.": "keeps the form of a conversation",
    "knowledge.trained.": "trained people, one-step questions",
    "knowledge.held_out.": "held-out people, one-step questions",
    "knowledge.trained.reverse.": "trained people, from facts to name",
    "knowledge.held_out.reverse.": "held-out people, from facts to name",
    "knowledge.trained.two_step.": "trained people, two-step questions",
    "knowledge.held_out.two_step.": "held-out people, two-step questions",
    "knowledge.cloze.trained.": "trained people, unfinished sentences",
    "knowledge.cloze.held_out.": "held-out people, unfinished sentences",
    "knowledge.unknown.made_up.": "makes up facts about names that do not exist",
}


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Two tables: the stages, and the evaluations with their 95% intervals."""
    stages = [key.split(".")[1] for key in summary if key.startswith("stages.") and key.endswith(".steps")]
    console.print(_stage_table(summary, stages))
    rates = _rate_table(summary, stages)
    if rates.row_count:
        console.print(rates)
    for stage in stages:
        name = f"evaluate.{stage}.forgetting."
        if f"{name}increase" in summary:
            increase, low, high = (summary[f"{name}{key}"] for key in ("increase", "low", "high"))
            alarm = "  [bold red]alarm: more than a tenth[/]" if summary[f"{name}alarm"] else ""
            console.print(
                f"{stage} forgets: loss on held-out pre-training text {summary[f'{name}before']:.3f} -> "
                f"{summary[f'{name}after']:.3f} bits per byte, {increase:+.1%} (95%: {low:+.1%} to {high:+.1%}){alarm}"
            )
    for stage in stages:
        _print_ledgers(summary, stage, console)
    peak = summary["peak_rss_bytes"] / 2**30
    console.print(f"took {duration(summary['seconds'])}, at most {peak:.2f} GiB of memory")


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
    columns = [stage for stage in stages if any(key.startswith(f"evaluate.{stage}.") for key in summary)]
    rows = {}
    for name, words in RATES.items():
        prefixes = [f"evaluate.{stage}.{name}" for stage in columns]
        cells = [_interval(summary, prefix) if f"{prefix}rate" in summary else "" for prefix in prefixes]
        if any(cells):
            rows[words] = cells
    return _columns("what the models can do (95% interval)", columns, rows)


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
