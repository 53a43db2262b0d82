"""The `plan` command: what a recipe costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tutelage.cli.command import command, new_console
from tutelage.cli.open_run import open_run
from tutelage.cli.options import SETTINGS


@click.command(short_help="Estimate tokens, time, memory and money of a recipe.")
@click.argument("recipe", metavar="[RECIPE.toml]", type=click.Path(path_type=Path), required=False)
@SETTINGS
@click.option("--example", metavar="NAME", help="Published costs beside computed ones, such as llama3-405b.")
@click.option("--hardware", metavar="PART[xN]", help="Also model the cost on accelerators, such as h100x64.")
@click.option(
    "--mfu", type=click.FloatRange(0, 1, min_open=True), help="Share of their peak that is used (default 0.4)."
)
@click.option("--price", type=click.FloatRange(0), metavar="DOLLARS", help="Of an hour of one of them (default 2).")
@click.option("--co2", type=click.FloatRange(0), metavar="KG", help="CO2 per kilowatt-hour (default 0.4).")
@click.option("--target", metavar="FLOPS", help="Model these FLOPs, such as 1e24flops, in place of the recipe's.")
@command
def plan(
    recipe: Path | None, settings: tuple[str, ...], example: str | None, hardware: str | None, as_json: bool,
    **modelled: Any,
) -> Any:  # fmt: skip
    """Estimate the cost of a recipe: parameters, tokens, FLOPs, time and memory, and how much of it is done; with
    --hardware also days, money and energy on accelerators. Trains nothing."""
    if (recipe is None) == (example is None):
        raise ValueError("give a recipe, or --example NAME")
    unused = [name for name, value in modelled.items() if value is not None and hardware is None]
    if unused:
        raise ValueError(f"--{unused[0]} goes with --hardware, such as h100x64; add it, or leave --{unused[0]} out")
    if recipe is None:
        if hardware is not None or settings:
            raise ValueError("--example stands alone")
        return _show_example(str(example), as_json)
    from tutelage.cost.modelled import model_cost, model_memory
    from tutelage.plan import plan as make_plan
    from tutelage.report.terminal import print_plan

    if hardware is not None:
        model_cost(hardware, 1.0, **modelled)  # a mistake in it shows before anything is measured
    result = make_plan(open_run(recipe, settings))
    if hardware is not None:
        cost = model_cost(hardware, result["flops"], **modelled)
        result["modelled"] = {**cost, **model_memory(hardware, result["stages"])}
    if not as_json:
        print_plan(result, new_console())
        if hardware is not None:
            _print_modelled(result["modelled"])
    return result


def _show_example(name: str, as_json: bool) -> Any:
    """A published cost beside the computed one."""
    from rich.table import Table

    from tutelage.cost.examples import find_example

    example = find_example(name)
    if not as_json:
        console = new_console()
        grid = Table("", "published", "computed", "difference", title=example.title, title_justify="left")
        for figure in example.figures:
            change = figure.computed / figure.published - 1
            numbers = (_number(figure.published, figure.unit), _number(figure.computed, figure.unit))
            grid.add_row(figure.name, *numbers, f"{change:+.1%}" if figure.within else f"{change:+.1%}, too much")
        console.print(grid)
        console.print(f"inputs: {example.inputs}\nsource: {example.source}", highlight=False)
    return example


def _number(value: float, unit: str) -> str:
    text = f"{value:,.4g}" if 0.001 <= value < 10_000 else f"{value:,.0f}" if value < 1e9 else f"{value:.4g}"
    return f"${text}" if unit == "$" else f"{text} {unit}".strip()


def _print_modelled(cost: dict[str, Any]) -> None:
    parts = f"{cost['count']:,} x {cost['hardware']} at {cost['mfu']:.0%} of {cost['peak'] / 1e12:,.1f} TFLOP/s"
    time = f"{_number(cost['hours'], 'hours')} of one, {_number(cost['days'], 'days')}"
    energy = f"{_number(cost['megawatt_hours'], 'MWh')}, {_number(cost['tonnes'], 't')} of CO2"
    click.echo(
        f"modelled, not measured: {cost['flops']:.3g} FLOPs on {parts} ({cost['source']}) take {time}; "
        f"${cost['dollars']:,.2f} at ${cost['price']:g} an hour; {energy} at {cost['co2']:g} kg per kWh"
    )
    memory = f"{cost['bytes_per_part'] / 2**30:,.2f} of {cost['memory_of_part'] / 2**30:,.0f} GiB of each are needed"
    click.echo(f"memory: {memory}{'' if cost['fits'] else ', too much'}; state sharded over all, activations apart")
    like = cost["class"]
    click.echo(f"it costs as much as {like['name']} ({like['data']}, {like['time']}; bottleneck: {like['bottleneck']})")
