"""A finished run on the terminal: what each stage did, and what each model can do."""

from __future__ import annotations

from collections.abc import Mapping
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
    peak = summary["peak_rss_bytes"] / 2**30
    console.print(f"took {duration(summary['seconds'])}, at most {peak:.2f} GiB of memory")


def _stage_table(summary: Mapping[str, Any], stages: list[str]) -> Table:
    table = Table(title="stages", title_justify="left")
    for heading in ("stage", "parameters", "steps", "tokens", "graded", "tokens/s", "time", "loss", "held-out loss"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in stages:
        of = {key.removeprefix(f"stages.{stage}."): value for key, value in summary.items()}
        held_out = ", ".join(f"{value:.3f}" for key, value in of.items() if key.startswith("held_out."))
        counts = (f"{of[key]:,.0f}" for key in ("parameters", "steps", "tokens", "graded", "tokens_per_second"))
        table.add_row(stage, *counts, duration(of["seconds"]), f"{of['loss']:.3f}", held_out)
    return table


def _rate_table(summary: Mapping[str, Any], stages: list[str]) -> Table:
    table = Table(title="what the models can do (95% interval)", title_justify="left")
    table.add_column("")
    columns = [stage for stage in stages if any(key.startswith(f"evaluate.{stage}.") for key in summary)]
    for stage in columns:
        table.add_column(stage, justify="right")
    for name, words in RATES.items():
        cells = []
        for stage in columns:
            prefix = f"evaluate.{stage}.{name}"
            cells.append(_interval(summary, prefix) if f"{prefix}rate" in summary else "")
        if any(cells):
            table.add_row(words, *cells)
    return table


def _interval(summary: Mapping[str, Any], prefix: str) -> str:
    return f"{summary[f'{prefix}rate']:.1%} ({summary[f'{prefix}low']:.1%} to {summary[f'{prefix}high']:.1%})"


def print_plan(plan: Mapping[str, Any], console: Console) -> None:
    """What each stage will cost, and on what the times rest."""
    table = Table(title=f"plan of {plan['name']}", title_justify="left")
    for heading in ("stage", "", "parameters", "tokens", "steps", "FLOPs", "time", "state", "activations"):
        table.add_column(heading, justify="left" if heading in ("stage", "") else "right")
    for name, stage in plan["stages"].items():
        table.add_row(
            name,
            "done" if stage["done"] else "to do",
            f"{stage['parameters']:,}",
            f"{stage['tokens']:,}",
            f"{stage['steps']:,}",
            f"{stage['flops']:.2g}",
            duration(stage["seconds"]),
            f"{stage['state_bytes'] / 2**20:,.1f} MiB",
            f"{stage['activation_bytes'] / 2**20:,.0f} MiB",
        )
    console.print(table)
    speed = plan["matrix_flops_per_second"] / 1e9
    console.print(
        f"to do: about {duration(plan['seconds'])}, if training reaches {plan['utilisation']:.0%} of this machine's "
        f"{speed:,.0f} GFLOP/s; about {plan['peak_bytes'] / 2**20:,.0f} MiB above what Python and PyTorch take"
    )
